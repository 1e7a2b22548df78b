"""Word lists and the people, animals, machines and places of the stories."""

GIRLS = """Mia Anna Lily Rosa Clara Nora Emma Ella Ivy Ruby Zoe Maya Lucy Hana Alice Sofia Leila Amara Ines Greta Tilda Freya Nina
Olga Priya Asha Yuki Mei Lena Eva Daisy Holly June Iris Hazel Marta Elsa Wren Poppy Sara Tara Vera Willa Juno Ada Grace Molly Kira Luna Opal""".split()
BOYS = """Tom Ben Sam Leo Max Finn Jack Noah Oscar Theo Hugo Omar Ravi Kofi Ivan Milo Jonas Felix Arlo Otto Pablo Luca Nico Emil Karl
Ali Idris Kenji Tariq Owen Peter Simon Toby Ned Will Anton Bruno Caleb Dario Elias Gus Henry Jasper Kai Liam Mateo Niels Paul Rory Seth""".split()
PETS = """Pip Bramble Dot Nutmeg Pepper Moss Tansy Biscuit Clover Fern Patch Thistle Button Maple Acorn Willow Pebble Sorrel Berry Tuck
Hopper Whisker Socks Ginger Basil Cricket Cinder Flint Juniper Misty Rusty Sunny Tumble Velvet Wisp Ziggy Poppet Barley Copper Domino""".split()
BOTS = "Bolt Sprocket Beep Rivet Cog Tick Gizmo Chip Widget Spark Pixel Dial Turbo Luma Zip Tinker Orbit Byte Vega Nova".split()

# kind, the word for where it rests
ANIMALS = """fox rabbit mouse bear squirrel hedgehog owl badger otter deer wolf duck goose hen cat dog kitten puppy pony horse goat
sheep lamb cow pig frog turtle beaver mole sparrow robin crow swan seal penguin elephant lion tiger monkey giraffe camel donkey
raccoon hare snail bee ant butterfly whale dolphin crab parrot panda koala kangaroo lizard bat""".split()
CHILD = ["girl", "boy"]
ADULTS = [("farmer", None), ("baker", None), ("fisher", None), ("teacher", None), ("gardener", None), ("carpenter", None), ("painter", None),
          ("sailor", None), ("clockmaker", None), ("doctor", None), ("shepherd", None), ("librarian", None), ("tailor", None), ("engineer", None),
          ("king", "m"), ("queen", "f"), ("prince", "m"), ("princess", "f"), ("knight", None), ("miller", None), ("postman", "m"), ("singer", None),
          ("old man", "m"), ("old woman", "f"), ("young man", "m"), ("young woman", "f"), ("wizard", "m"), ("witch", "f"), ("captain", None), ("cook", None)]
MACHINES = ["robot", "robot", "robot", "robot", "machine", "drone", "computer"]
FANTASY = ["dragon", "giant", "ghost", "unicorn", "elf", "dwarf", "fairy", "troll", "snowman"]

# noun phrase with article, "the" form, spots there, what one hears or sees there
SETTINGS = [
    ("a small village near the hills", "the village", ["the old well", "the stone bridge", "the market square", "the mill", "the bakery", "the church tower"], "smoke rose from the chimneys"),
    ("a quiet village by the sea", "the village", ["the harbor", "the lighthouse", "the beach", "the fish market", "the boat shed", "the long pier"], "gulls cried above the boats"),
    ("a deep green forest", "the forest", ["the old oak tree", "the clear stream", "the mossy log", "the blackberry bushes", "the hidden clearing", "the pond"], "birds sang in the branches"),
    ("a busy city", "the city", ["the train station", "the big library", "the park", "the market", "the tall clock tower", "the bridge over the river"], "trams rang their bells in the streets"),
    ("a little farm at the end of a long road", "the farm", ["the red barn", "the apple orchard", "the hen house", "the hay loft", "the duck pond", "the wheat field"], "the rooster crowed from the fence"),
    ("a high mountain valley", "the valley", ["the waterfall", "the shepherd's hut", "the narrow path", "the rocky ledge", "the pine trees", "the blue lake"], "goat bells rang on the slopes"),
    ("a castle on a hill", "the castle", ["the great hall", "the round tower", "the rose garden", "the kitchen", "the stables", "the front gate"], "flags waved from the towers"),
    ("a tiny island", "the island", ["the sandy cove", "the palm trees", "the tide pools", "the cave", "the lighthouse", "the wooden dock"], "waves rolled on to the sand"),
    ("a sunny garden behind a yellow house", "the garden", ["the pear tree", "the vegetable bed", "the garden shed", "the rose bush", "the little pond", "the stone wall"], "bees hummed among the flowers"),
    ("a small town beside a wide river", "the town", ["the river bank", "the bakery", "the school", "the old mill", "the town hall", "the ferry landing"], "boats drifted by on the river"),
    ("a village at the edge of the desert", "the village", ["the well", "the date palms", "the market", "the sand dunes", "the mud wall", "the camel yard"], "the warm wind moved the sand"),
    ("a snowy land in the far north", "the snowy land", ["the frozen lake", "the warm cabin", "the tall pines", "the wood pile", "the sledge track", "the ice cave"], "the snow shone like silver"),
    ("a meadow beside a slow brook", "the meadow", ["the willow tree", "the flat stones", "the tall grass", "the brook", "the wooden fence", "the hollow stump"], "grasshoppers chirped in the grass"),
]

LISTS = {
    "adj": ["little", "small", "young", "kind", "clever", "quiet", "cheerful", "curious", "shy", "brave", "gentle", "friendly"],
    "trait": ["kind", "clever", "curious", "brave", "patient", "gentle", "cheerful", "careful", "honest", "helpful"],
    "weather": ["warm", "sunny", "windy", "cool", "bright", "cloudy", "misty", "fresh", "still", "golden"],
    "season": ["spring", "summer", "autumn", "winter"],
    "day": ["Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday"],
    "timeofday": ["morning", "afternoon", "evening"],
    "color": ["red", "blue", "green", "yellow", "white", "silver", "golden", "orange", "purple", "brown"],
    "treasure": ["brass key", "red kite", "silver bell", "wooden whistle", "blue scarf", "golden ring", "small compass", "glass marble", "tin drum",
                 "green lantern", "old watch", "music box", "toy boat", "picture book", "striped hat", "leather ball", "pocket mirror", "painted stone",
                 "woolen mitten", "magnifying glass", "silver spoon", "yellow umbrella", "orange button", "ivory comb"],
    "food": ["bread and honey", "hot soup", "apple pie", "cheese and bread", "pancakes", "berry cake", "roasted nuts", "warm porridge", "plum tart", "carrot stew", "sweet pears", "fresh rolls"],
    "drink": ["warm milk", "hot tea", "cold water", "apple juice", "hot chocolate"],
    "flower": ["daisy", "rose", "tulip", "poppy", "violet", "sunflower", "lily", "bluebell"],
    "tree": ["oak", "pine", "birch", "willow", "maple", "apple tree", "chestnut", "elm"],
    "hobby": ["to sing", "to draw", "to read", "to explore", "to look at the stars", "to collect shiny stones", "to build things", "to listen to stories",
              "to watch the clouds", "to help others", "to tell jokes", "to take long walks", "to ask questions", "to count things", "to fix broken things", "to dance"],
    "smalltask": ["picking berries", "sweeping the floor", "carrying water", "gathering wood", "watering the plants", "folding the sheets", "washing the cups", "counting apples"],
    "glad": ["happy", "glad", "pleased", "full of joy", "delighted", "very happy"],
    "sad": ["sad", "unhappy", "gloomy", "full of sorrow", "very sad", "disappointed"],
    "said": ["said", "answered", "replied"],
    "soon": ["soon", "before long", "after a while", "a little later", "in a short time"],
    "walked": ["walked", "hurried", "went", "ran", "set off"],
    "number": ["two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "twelve"],
}


class Cast:
    """Who a story is about: names, kinds and pronouns, as slots for the grammar."""

    def __init__(self, rng, kind=None, other=None):
        self.rng = rng
        env = self.env = {}
        place, theplace, spots, sight = rng.choice(SETTINGS)
        s = rng.sample(spots, 3)
        env.update(place=place, theplace=theplace, spot=s[0], spot2=s[1], spot3=s[2], sight=sight)
        used = set()
        self.kind = self.person("", kind, used)
        self.person("f", other, used)
        for key in ("treasure", "season", "trait", "food", "drink", "flower", "tree", "weather", "color", "number"):
            env[key] = rng.choice(LISTS[key])

    def person(self, p, kind, used):
        rng, env = self.rng, self.env
        if kind is None:
            x = rng.random()
            kind = (rng.choice(CHILD) if x < .34 else rng.choice(ANIMALS) if x < .68 else rng.choice(ADULTS)[0] if x < .83
                    else rng.choice(MACHINES) if x < .94 else rng.choice(FANTASY))
            if kind in used and kind not in CHILD:
                kind = rng.choice([k for k in ANIMALS if k not in used])
        used.add(kind)
        sex = dict(ADULTS).get(kind) or {"girl": "f", "boy": "m"}.get(kind) or rng.choice("mf")
        age = ""
        if kind in MACHINES:
            sex, pool, age = rng.choice("nnnmf"), BOTS, rng.choice(["little", "small", "friendly", "old", "shiny", "little"])
        elif kind in CHILD:
            pool, age = (GIRLS if sex == "f" else BOYS), rng.choice(["little", "young", "curious", "cheerful", "clever", "quiet", "kind", ""])
        elif kind in dict(ADULTS):
            pool, age = (GIRLS if sex == "f" else BOYS), "" if " " in kind else rng.choice(["old", "young", "kind", "clever", "poor", "good", "wise", ""])
        elif kind in FANTASY:
            pool, age = PETS + BOTS[:4], rng.choice(["little", "young", "lonely", "old", "friendly", "shy"])
        else:
            pool, age = PETS, rng.choice(["little", "young", "small", "clever", "gray", "brown", "quick", "shy", "brave", "old", "sleepy", "friendly"])
        name = rng.choice([n for n in pool if n not in used])
        used.add(name)
        he, him, his = {"m": ("he", "him", "his"), "f": ("she", "her", "her"), "n": ("it", "it", "its")}[sex]
        named = rng.random() < (.97 if kind in CHILD else .68)
        full = f"{age} {kind}".strip()
        ref = "H" if not p else "F"
        env[ref] = name if named else f"the {kind}"
        called = rng.choice(["named", "called", "named"])
        env[ref + "0"] = f"a {full} {called} {name}" if named else f"a {full}"
        env[ref + "1"] = (f"{name} the {kind}" if kind not in CHILD else name) if named else f"the {full}"
        env[ref + "kind"], env[ref + "full"], env[ref + "name"] = kind, full, name if named else ""
        for key, value in (("he", he), ("him", him), ("his", his), ("himself", {"m": "himself", "f": "herself", "n": "itself"}[sex])):
            env[p + key] = value
            env[(p + key)[0].upper() + (p + key)[1:]] = value[0].upper() + value[1:]
        return kind
