"""Poems, small talk, descriptions, letters and diaries, arithmetic."""

# couplets by theme; a poem is two to five of a theme, in any order
POEMS = {
"the sea|the ocean|waves": ["The sea is wide, the sea is deep,|it sings the little boats to sleep.", "The waves come in, the waves go out,|and seagulls fly and scream and shout.", "I found a shell upon the sand|and held the ocean in my hand.",
  "The water shines in blue and green,|the finest colors ever seen.", "A ship goes by with sails of white,|it leaves at dawn and comes at night.", "The wind is salt, the wind is free,|and all the world smells of the sea.", "The moon looks down, the tide is low,|and silver fishes come and go.", "Oh tell me, sea, where have you been,|and what the wonders you have seen?"],
"the moon|the night|the stars": ["The moon is climbing, round and bright,|a silver lantern in the night.", "The stars are small and far away,|they wait until the end of day.", "The town is still, the lamps are low,|and soft and slow the rivers flow.", "An owl looks out from in the tree|and wonders what the time may be.",
  "Good night, the wind says to the hill,|and one by one the birds are still.", "I count the stars, but then I yawn|and sleep until the light of dawn.", "The dark is kind, the dark is deep,|it rocks the weary world to sleep.", "One little star looks down at me,|as bright as any star can be."],
"the rain|a rainy day": ["The rain is drumming on the pane,|I love the music of the rain.", "It taps the roof, it wets the street,|it makes a puddle for my feet.", "The flowers drink, the fields are glad,|and nobody is really sad.", "The clouds are gray, the leaves are wet,|it has not finished falling yet.", "And when it ends, look up and know:|there is a band of light, a bow.",
  "Come in, sit down, the stove is hot,|and there is tea inside the pot.", "A snail is out, so proud and slow,|he has the finest way to go."],
"spring|flowers|a garden": ["The snow has gone, the brook runs clear,|the first warm days of spring are here.", "A bee is humming in the sun,|its work has only just begun.", "The tulip wears a coat of red|and slowly lifts a sleepy head.", "I put a seed into the ground|and heard it grow without a sound.", "The birds are building in the tree|a nest for one and two and three.", "The grass is soft, the sky is blue,|and everything is fresh and new.", "The garden wakes, the garden grows,|from small green leaf to open rose."],
"autumn|the leaves|the wind": ["The leaves are red, the leaves are gold,|the days are short, the nights are cold.", "The wind goes running through the town|and shakes the yellow branches down.", "The geese are flying to the south,|the fox has berries in its mouth.", "The apples wait in baskets deep,|the hedgehog curls up, fast asleep.", "A single leaf comes floating by|and takes a long time to say goodbye.", "The smoke goes up, the fields are bare,|there is a smell of frost in air."],
"winter|the snow": ["The snow came down without a sound|and laid a blanket on the ground.", "The lake is ice, the hill is white,|the stars are sharp and clear tonight.", "A robin hops from tree to tree|and leaves a little trail for me.", "We roll a ball, we make it grow,|and soon there stands a man of snow.", "Inside the stove is burning red,|and warm and soft is every bed.", "The world is quiet, cold and deep,|and under snow the flowers sleep."],
"a cat|my cat": ["My cat is soft, my cat is gray,|she sleeps for almost all the day.", "She likes the sun, she likes the chair,|she hardly knows that I am there.", "But when I take the milk in hand,|there is no faster cat in the land.", "At night she walks along the wall|and makes no sound, no sound at all.", "She looks at me as if she knew|a thing or two, a thing or two.", "And when she purrs upon my knee,|there is no better place to be."],
"a robot|a machine|a computer": ["A little robot, made of tin,|had many tiny wheels within.", "It learned to count, it learned to read,|it helped whoever was in need.", "It has a lamp in place of eyes|and wonders at the evening skies.", "It hums a tune of ones and noughts|and thinks its small electric thoughts.", "It works by day, it works by night,|its little lamp is always bright.", "And when the work is fully done,|it sits and looks up at the sun.", "Four models shared a single chip,|like sailors on a single ship.", "Each had its place, each had its turn,|and every one had time to learn."],
"a friend|friendship": ["A friend is someone by your side|on every long and bumpy ride.", "A friend will listen, friends will care,|a friend will always find a chair.", "We laugh together, you and I,|and sometimes we sit down and cry.", "The road is long, the hill is steep,|but friends have promises to keep.", "So take my hand and come with me,|and we shall see what we can see.", "When I am lost, when I am low,|you are the one to whom I go."],
"a river|water": ["The river starts so small and clear,|a drop from there, a drop from here.", "It jumps from stone to mossy stone|and sings a song that is its own.", "It turns the wheel, it feeds the field,|it makes the trees their apples yield.", "It carries boats, it carries leaves,|it gives to all what it receives.", "And when it grows up, wide and free,|it finds its way into the sea."],
"a tree|the forest": ["The oak is old, the oak is tall,|it was here long before us all.", "The squirrels run along its arms|and sound their little squirrel alarms.", "The leaves are whispering above|of sun and rain and things they love.", "A path goes in among the trees|and follows there the humming bees.", "The moss is soft, the light is green,|the quietest place I have ever seen.", "And if you listen, you will hear|a hundred voices, far and near."],
"the sun|the morning|a new day": ["The sun gets up, the night is done,|good morning, world, and everyone.", "The rooster calls, the windows glow,|the milk is warm, the bread is dough.", "A beam of light comes through the door|and paints a square upon the floor.", "The day is new, the day is mine,|the grass is wet, the hills all shine.", "So wash your face and comb your hair|and go and breathe the morning air.", "There is so much to see and do,|and all of it begins with you."],
"a bird|birds": ["A little bird sat in a tree|and sang a little song for me.", "It sang of clouds, it sang of sky|and of the joy it is to fly.", "It has no house, it has no door,|it needs a branch and nothing more.", "It spreads its wings, it leaves the ground,|and round it goes, and round and round.", "I wish that I could fly along|or only learn that little song."],
"a train|a journey": ["The train goes fast along the track,|and some will stay and some come back.", "The fields fly by, the cows look up,|the tea is dancing in its cup.", "A bridge, a tunnel, then a town,|and up the hill and slowly down.", "Who lives in there, behind the light|of windows shining in the night?", "And when we stop, the doors swing wide,|and all the world is there outside."],
}
TITLES = ["{T}", "{T}", "A Poem", "A Little Song"]

HELLO = ["Hello!", "Hi!", "Hello", "Hi", "Good morning!", "Good evening!", "Hey there!", "Hello there!", "Hello, how are you?", "Hi, how are you?", "How are you?", "How are you today?", "Good day!", "Hello, world!", "Hello world"]
HELLO_A = ["Hello! [How can I help you today?|What would you like to talk about?|It is nice to meet you. What can I do for you?|How are you?]",
  "Hello! I am [a small language model|a little model that runs on this device]. [Ask me a question, or ask me for a story|I can tell a story, write a poem or answer a simple question].",
  "Hi! I am glad that you are here. [Would you like to hear a story?|What shall we do today?|What is on your mind?]", "[Good day|Hello]! I am doing well, thank you. [And how are you?|What can I do for you?|What would you like to know?]"]
WHO = ["Who are you?", "What are you?", "What is your name?", "Tell me about yourself.", "Are you a robot?", "Are you a person?", "Introduce yourself."]
WHO_A = ["I am a small language model that comes with Cogniware. [I can tell simple stories, write short poems and answer easy questions.|I am small, so I know only a little, but I am fast.]",
  "I am a little language model. [I was trained on simple texts that were written for this project|I have about seven million weights, which is very small for a model]. I [often make mistakes, so please check what I say|share this device with other models].",
  "I do not have a name of my own. I am the small model that comes with Cogniware, and I like to tell stories."]
CAN = ["What can you do?", "How can you help me?", "Help", "What do you know?", "Can you help me?"]
CAN_A = ["I can tell you a story, write a short poem, explain simple things, make a list or do a little arithmetic. [Try it: ask me for a story about a fox.|Just ask!]", "I know simple stories, poems and facts. I can explain what rain is, how to make tea or how several models share one device. I am small, so please do not expect too much."]
THANKS = ["Thank you!", "Thanks!", "Thank you very much.", "That was nice, thank you.", "Great, thanks.", "I liked that."]
THANKS_A = ["You are welcome!", "You are welcome! [Is there anything else that you would like to know?|Just ask if you need anything else.|I am always glad to help.]", "I am glad that you liked it."]
BYE = ["Goodbye!", "Bye!", "See you later.", "Good night!", "I have to go now."]
BYE_A = ["Goodbye! [Have a nice day.|Come back soon.|It was nice to talk to you.]", "See you soon!", "Goodbye, and take care!"]
UNKNOWN = ["Who won the game last night?", "What is the weather today?", "What time is it?", "What is the price of gold?", "Who is the president?", "What will happen tomorrow?", "Can you book a flight for me?", "What did I have for breakfast?", "Translate this into Chinese.", "Write a long program for me."]
UNKNOWN_A = ["I am sorry, but I do not know that. I am a small model, and I cannot look things up. [I can tell you a story instead.|Please ask me something simpler.]", "I cannot help with that, because I only know simple things. Maybe I can [tell you a story or explain how rain is made|write a short poem for you]?"]
JOKES = [("Why did the computer go to the doctor?", "Because it had a virus."), ("Why was the robot so tired?", "Because it had a hard drive."), ("What do you call a bear without teeth?", "A gummy bear."), ("Why do bees hum?", "Because they do not know the words."),
  ("What did one wall say to the other wall?", "Let us meet at the corner."), ("Why did the clock go to school?", "To learn how to tell the time."), ("What is orange and sounds like a parrot?", "A carrot."), ("Why can a bicycle not stand by itself?", "Because it is two tired."),
  ("What do you get when you cross a snowman and a dog?", "Frostbite."), ("Why did the model ask for more memory?", "Because it kept forgetting the punch line.")]
FAV = [("color", ["blue, because it is the color of the sea and the sky", "green, because it is the color of the forest in spring", "yellow, because it is warm like the sun"]), ("animal", ["the owl, because it is quiet and looks wise", "the fox, because it is clever and there are so many good stories about it", "the turtle, because it is never in a hurry"]),
  ("season", ["spring, because everything begins again", "autumn, because of all its colors", "winter, because it is the best time for stories"]), ("book", ["one with many short stories, because I can never wait for the end"]), ("food", ["a fresh loaf of bread, although I cannot eat. I only know that people smile when they smell it"]), ("number", ["eight, because it is a power of two and looks like a snowman"])]

# openings and lines for descriptions of a place; slots are a setting's
SCENE = [
  ["The sun rose over {theplace}[ and painted the roofs with gold|, and slowly the shadows grew short|]. {^sight}.", "It was [early morning|still early] in {theplace}. {^sight}.", "Evening came to {theplace}. {^sight}, and the sky turned [red|pink and gold|dark blue].", "Night lay over {theplace}. [A few lamps were still burning|Only the stars were awake].",
   "It was a {weather} day in {theplace}. {^sight}.", "The rain had stopped, and {theplace} [shone|smelled of wet earth]. {^sight}.", "Snow had fallen on {theplace}. Every sound was soft.", "The wind came from the west and blew through {theplace}."],
  ["Near {spot} [an old man fed the birds|two children were playing with a hoop|a dog slept in the sun|a woman hung out her washing|somebody was singing].", "A cat [sat on the wall|walked along the fence] and watched [everything|the birds] with half closed eyes.", "At {spot} [people stopped to talk|the air smelled of fresh bread|a small boy was counting stones]."],
  ["By {spot2} [the grass was still wet|a cart stood with one broken wheel|a bell rang three times|the shadows were long and cool].", "From {spot2} came [the sound of a hammer|a soft tune|laughter|the smell of {food}].", "Somebody had left a {treasure} near {spot2}, and it [shone in the light|waited for its owner]."],
  ["Nobody was in a hurry.", "Time seemed to stand still.", "[A child|A traveler] asked the way to {spot3}, and everyone pointed in the same direction.", "The clock struck {number}.", "Far away a [train whistled|dog barked|boat sounded its horn].", "A [red|blue|white] butterfly [flew by|sat down on a stone]."],
  ["It was a day like any other, and that was the beauty of it.", "Those who lived there would not have changed it for any other place.", "And somewhere a story was about to begin.", "It was good to be there.", "Soon the day would be in full swing."],
]
DIARY = [
  ["Dear diary,\ntoday was a {weather} day.", "I woke up early today.", "My name is {Hn}, and I live in {place}.", "Today I [went|walked] to {spot} with my friend {fn}.", "I want to tell you about my day.", "Dear {fn},\nthank you for your letter. I hope that you are well.", "Dear {fn},\nI am writing to you from {place}."],
  ["In the morning I [helped my mother|fed the animals|swept the floor|read a book], and {sight}.", "After breakfast I put on my boots and went to {spot2}.", "First I had {food} and {drink} for breakfast.", "The sky was clear, and {sight}."],
  ["Near {spot} I found a {treasure}. [I asked everyone, but nobody had lost it.|I gave it back to its owner, who was very glad.|I will keep it in a safe place.]", "At {spot} I met an old [sailor|woman|friend] who told me a story about [a dragon|the sea|the stars].", "I tried to [bake a cake|draw a horse|learn a song], but it went wrong. Tomorrow I will try again.", "We played [hide and seek|ball] near {spot3} until it was dark.", "On the way a small dog followed me. I wanted to keep it, but it already had a home."],
  ["In the afternoon it began to rain, so we went inside and [played games|told stories].", "Then we sat under a tree and ate {food}.", "Later we looked at the clouds. One looked like a {animal}, and another one looked like a ship.", "I learned that [a spider has eight legs|the moon has no light of its own|bread needs time to rise|it is good to share]."],
  ["Now I am tired, and I am going to bed. Good night!", "It was a good day, and I hope that tomorrow will be just as good.", "Please write to me soon.\nYour friend {Hn}", "Tomorrow we will go there again.", "I think that I will never forget this day.", "I am very happy to have such a friend."],
]
ESSAY = [
  ("The future of computing", ["The future of computing [may be small|will be shared|is hard to know]. [Today many machines are strong enough to do several jobs at once|A single device can already do the work of many]. [What is missing is a good way to share them|The question is how to share them well].", "When each program has its own part of the memory and its own share of the time, they can live together in peace.", "Small models will run close to the people who use them, and they will use less energy.", "People will still decide what the machines are for."]),
  ("Sharing", ["Sharing is [easy to praise and hard to do|harder than it looks]. It needs a rule that everyone knows and someone who keeps the count.", "If the rule is fair, nobody has to fight for a place.", "A shared well, a shared oven and a shared computer all work in the same way: each one gets a turn, and nobody takes more than was agreed.", "In the end there is more for everyone."]),
  ("Why we tell stories", ["People have told stories for as long as there have been people. They sat around a fire and told of brave hunters, clever animals and faraway lands.", "A story lets us see the world with the eyes of somebody else.", "It teaches us without a teacher, and it comforts us when we are alone.", "Maybe that is why we never get tired of the words once upon a time."]),
  ("A good machine", ["A good machine does its work and does not ask for praise. It says clearly what it can do and what it cannot do.", "When something is wrong, it does not hide it, but gives the reason.", "It takes only what it needs and gives back what it does not need any more.", "One can say the same of a good neighbor."]),
  ("Memory", ["A computer has a good memory, but it forgets everything when the power is gone. People forget many things, but they remember what matters to them.", "A model keeps in its weights what it has learned, and in its memory what was just said.", "When the memory is full, something must go.", "It is wise to decide early what should stay."]),
  ("The city in the morning", ["In the morning the city wakes up slowly. First come the bakers, then the trams, and then the children on their way to school.", "Shops open their doors, and the smell of coffee fills the streets.", "By noon everyone is in a hurry, and nobody remembers how quiet it was.", "But early tomorrow it will be quiet again."]),
  ("Walking", ["Walking is the simplest of all sports. It needs no tools and no teacher, only a pair of shoes and a little time.", "While the feet are busy, the mind is free, and good ideas often come on the way.", "Those who walk see more than those who drive.", "And at the end of a long walk even plain bread tastes wonderful."]),
  ("Four models on one device", ["Four models lived on one device. The first told stories, the second answered questions, the third wrote poems, and the fourth counted things.", "Each of them had its own memory, and none of them could see the memory of the others.", "When the story teller was silent, the poet could use its time.", "A ledger kept the count, to the last byte, and so there was never a quarrel."]),
]


def arithmetic(rng):
    """One question with its answer, within what a very small model can learn."""
    a, b = rng.randint(0, 20), rng.randint(0, 20)
    kind = rng.randrange(7)
    ask = rng.choice(["What is {}?", "How much is {}?", "Calculate {}.", "{} =", "Can you tell me what {} is?"])
    if kind <= 2:
        op, res, word = ("+", a + b, "plus")
    elif kind == 3:
        a, b = max(a, b), min(a, b)
        op, res, word = ("-", a - b, "minus")
    elif kind == 4:
        a, b = rng.randint(1, 10), rng.randint(1, 10)
        op, res, word = ("*", a * b, "times")
    elif kind == 5:
        name, other = rng.sample(["Mia", "Tom", "Anna", "Ben", "Lily", "Sam"], 2)
        thing = rng.choice(["apples", "books", "coins", "stones", "pears", "marbles"])
        a, b = max(a, 2), max(b, 2)
        if rng.random() < .5:
            return f"{name} has {a} {thing}. {other} gives {name} {b} more. How many {thing} does {name} have now?", f"{name} has {a} + {b} = {a + b} {thing} now."
        a, b = max(a, b) + 2, min(a, b)
        return f"{name} has {a} {thing} and gives {b} of them to {other}. How many {thing} are left?", f"There are {a} - {b} = {a - b} {thing} left."
    else:
        n, up = rng.randint(1, 15), rng.choice([3, 5, 8, 10])
        return rng.choice([f"Count from {n} to {n + up}.", f"Please count from {n} to {n + up}."]), ", ".join(str(n + i) for i in range(up + 1)) + "."
    words = rng.random() < .3
    q = ask.format(f"{a} {word if words else op} {b}")
    return q, rng.choice([f"{a} {op} {b} = {res}.", f"{a} {word} {b} is {res}.", f"The answer is {res}.", f"{a} {op} {b} = {res}."])
