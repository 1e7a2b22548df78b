"""Short stories: an opening, one of the plots below (beats in order; "?" marks a beat that may be left out), and an ending.

H is the hero and F the friend; he/him/his are the hero's pronouns, fhe/fhim/fhis the friend's. A plot gives the things its story is about,
so that a request ("a story about a lost key") can be answered with a fitting one.
"""
import re

from grammar import expand, tidy
from words import ANIMALS, CHILD, FANTASY, LISTS, MACHINES, Cast

OPEN = [
    "Once upon a time, [in {place}, there lived {H0}|there was {H0} who lived in {place}|{H0} lived in {place}].",
    "Once upon a time there was {H0}. {^H} lived in {place}, [where {sight}|not far from {spot}|close to {spot}].",
    "[Long ago|Many years ago|A long time ago], in {place}, there lived {H0}.",
    "There [once was|was once] {H0} who [lived in|came from] {place}.",
    "In {place} [there lived|lived] {H0}.",
    "The sun rose over {theplace}[, and {sight}|. {^sight}|]. [Near|Beside|Close to] {spot}, {H0} [opened {his} eyes|woke up|was already awake].",
    "The [morning|day] was {weather}, and {sight}. {^H0} [sat near|stood beside|was walking to] {spot}.",
    "It was a [{weather} morning|{weather} day|quiet evening|cold night|rainy day] in {theplace}. {^H0} [was sitting by|was on the way to|looked out toward] {spot}.",
    "One [{weather}|fine|cold|quiet] {timeofday}, {H0} [set out from|walked past|was sitting near] {spot}.",
    "The {Hfull} lived in {place}. [Everyone called {him} {Hn}.|{His} name was {Hn}.]",
    "The little {Hkind} [lived in|had a home in] {place}. [{His} name was {Hn}|All the neighbors called {him} {Hn}].",
    "{^H0} lived in {place}. Every {timeofday}, {sight}.",
    "{^H1} [loved|liked] {hobby}. [{He} lived in {place}, where {sight}.|{His} home was in {place}.]",
    "Far away, in {place}, {sight}. That is where {H0} lived.",
    "This is a story about {H0} who lived in {place}.",
    "In {season}, {place} is a lovely sight. That is where {H0} lived, near {spot}.",
]
TRAITS = [
    "{He} was [very |always |]{trait}, and {he} loved {hobby}.", "{He} loved {hobby}[ more than anything else|], [and everyone knew it|and {he} did it every day].",
    "Everyone in {theplace} knew {him}[, because {he} was so {trait}|].", "{He} had a [small|cozy|tidy] home near {spot2}, and {he} loved {hobby}.",
    "{His} best friend was {F0}.", "Most days {he} was busy with {smalltask}.", "", "",
]
END = [
    "From that day on, {H} and {F} were the best of friends.", "And {they} lived happily [ever after|for many years].", "{^H} went to sleep that night with a smile.",
    "It had been a good day.", "And that is how {H} learned that [even small help can matter|a friend is worth more than gold|it is good to try again|every problem has an answer].",
    "That night the stars shone over {theplace}, and everyone slept well.", "And if you ever visit {theplace}, you may hear {H} tell this story.",
    "{^H} never forgot that day.", "After that, {H} smiled every time {he} walked past {spot}.", "The end.", "Everyone in {theplace} still tells this story today.",
    "\"What a day,\" said {H}, and {he} [laughed|smiled|closed {his} eyes].", "When the sun went down, {H} was tired but {glad}.",
    "And from then on, nobody in {theplace} was ever lonely again.",
]
# small scenes that fit between beats of any plot
SCENES = [
    "The wind [was soft|blew gently|grew stronger], and {sight}.", "[Above them|High above], a [single bird|white cloud|flock of geese] crossed the sky.",
    "{^H} [hummed a little tune|counted to ten|took a deep breath].", "The air smelled of [rain|flowers|wood smoke|pine|wild mint].",
    "Somewhere near {spot3} a [bell|bird|dog] could be heard.", "{^H} thought about it for a long time.", "\"I am glad that you are here,\" said {H} to {F}.",
]

# (what it is about, beats)
PLOTS = [
("a lost {treasure}|something lost|looking for something", [
    "{^H} had [a|one] {treasure} that {he} loved very much. [It had been a gift from {his} grandmother.|{He} had found it long ago near {spot3}.|{He} took it everywhere.]",
    "[One day|One morning|Then, one day], the {treasure} was gone. {^H} looked [under the bed|behind the door|in every corner], but [it was not there|{he} could not find it].",
    "{^H} felt {sad}. \"Where can it be?\" {he} asked.",
    "First {he} [went|walked|hurried] to {spot}. [There was nothing there but dry leaves.|{He} looked high and low, but found nothing.|Nobody there had seen the {treasure}.]",
    "?Then {he} went to {spot2}. {He} found a [feather|button|smooth stone], but no {treasure}.",
    "On the way {he} met {F0}. \"Why do you look so sad?\" asked {F}.",
    "\"I have lost my {treasure},\" said {H}. \"I have looked everywhere.\"",
    "\"[Two pairs of eyes see more than one|Let me help you|I will help you look],\" said {F}. \"[When did you last have it|Where were you when you last saw it]?\"",
    "{^H} thought hard. \"I had it when I was at {spot3},\" {he} said [slowly|at last].",
    "So they went to {spot3} together. [{^F} looked on one side and {H} looked on the other.|They looked under every stone and leaf.] [And there it was|There, in the grass, lay the {treasure}|Suddenly {F} saw something {color}]!",
    "\"[My {treasure}|You found it|There it is]!\" cried {H}. {He} [hugged {F}|danced with joy|jumped up and down]. \"Thank you! How can I ever thank you?\"",
    "\"[You do not have to|There is no need]. [That is what friends are for|Just be my friend],\" said {F}.",
    "From then on {H} [kept the {treasure} in a safe place|always put the {treasure} back where it belonged]."]),
("a hurt bird|kindness|a bird", [
    "One {weather} day {H} heard a soft cry near {spot}. {He} looked down and saw a small bird in the grass.",
    "The bird [had a broken wing|could not fly|had hurt its wing]. \"[Poor little thing|Do not be afraid|I will not hurt you],\" said {H}.",
    "{He} [picked it up very gently|wrapped it in a soft cloth|carried it home in a small basket]. The bird's heart was beating fast.",
    "{^H} asked {F1} for help. {^F} knew a lot about birds. \"It needs [rest, water and seeds|a warm place and time to rest],\" said {F}.",
    "So {H} made a nest from [hay|wool|dry grass] and put it near the window. Every [morning|day] {he} brought [seeds and fresh water|crumbs and water].",
    "?{^F} came by every evening to look at the wing. \"It is getting better,\" {fhe} said.",
    "[Days went by|A week went by|Two weeks went by]. The bird began to [hop|sing|move its wing]. {^H} was {glad}, but also a little sad, for {he} knew that it would soon fly away.",
    "One morning the bird [sat on the window and looked at the sky|spread its wings]. \"You may go,\" {H} whispered. \"The sky is your home.\"",
    "The bird flew up, made one big circle over {theplace}, and was gone.",
    "?All winter {H} wondered how the bird was.",
    "Then, in spring, {H} heard a song outside. There was the bird, and it was not alone. It had [built a nest|brought its family] right beside {his} window."]),
("a storm|the rain|being safe together", [
    "That day dark clouds came over {theplace}. The wind began to howl, and [the first drops fell|thunder rolled far away].",
    "{^H} was at {spot} when the storm began. The rain fell so hard that {he} could hardly see the path.",
    "\"I must find shelter,\" thought {H}. {He} ran to {spot2}, but [the water was too high there|it was already wet and cold there].",
    "Then {he} saw a small light. It came from a little house, and in the door stood {F0}. \"Come in, quickly!\" called {F}.",
    "Inside it was warm and dry. {^F} gave {H} a blanket and a cup of {drink}. \"[Sit down by the fire|Stay here until it is over],\" said {F}.",
    "?Soon there was a knock at the door. It was a wet [dog|cat|duck]. Then came [two rabbits|an old man|a goat], and then [a family of mice|a small child]. {^F} let them all in.",
    "The house was full, but nobody [complained|minded]. They shared {food} and told [stories|jokes] while the storm shook the roof.",
    "\"Are you afraid of the thunder?\" asked {F}. \"A little,\" said {H}, \"but less when we are together.\"",
    "In the morning the sky was clear and blue. [A rainbow stood over {theplace}.|The leaves sparkled with drops of water.]",
    "But the storm had [broken {F}'s fence|taken some tiles from {F}'s roof]. \"You helped us,\" said {H}. \"Now we will help you.\" And all of them worked until it was mended."]),
("sharing food|winter|being hungry", [
    "It had been a hard winter. Snow lay [deep|thick] on the ground, and there was little to eat in {theplace}.",
    "{^H} had [worked all summer|gathered nuts and apples all autumn], so {his} cupboard was [almost full|still half full].",
    "One cold evening there was a knock at the door. Outside stood {F0}, [shaking with cold|with snow on {fhis} head].",
    "\"Please,\" said {F}, \"I have had nothing to eat since [yesterday|two days ago]. Could you spare some {food}?\"",
    "{^H} looked at {his} cupboard. \"If I share,\" {he} thought, \"there will be less for me.\" Then {he} looked at {F}, who was so [thin|tired|cold].",
    "\"Come in,\" said {H}. \"There is enough for two.\" They sat down by the fire and ate together.",
    "?\"I have never tasted anything so good,\" said {F}.",
    "All winter long they shared what they had. {^F} could [tell wonderful stories|mend clothes|sing beautiful songs], and so the dark evenings were not long.",
    "At last spring came, and the snow melted. {^F} showed {H} a secret place near {spot} where [sweet berries|wild strawberries|the best mushrooms] grew.",
    "\"You shared when you had little,\" said {F}. \"Now I can share when there is much.\""]),
("learning something new|practice|never giving up", [
    "More than anything, {H} wanted to learn how to {skill}.",
    "{He} tried it on [Monday|the first day], and [it went wrong|{he} failed]. {He} tried again [on Tuesday|the next day], and it went wrong again.",
    "\"I will never learn it,\" {he} said, and {he} sat down near {spot} and [sighed|hung {his} head].",
    "{^F1} had been watching. \"How many times have you tried?\" asked {F}. \"{^number} times,\" said {H}.",
    "\"Only {number}!\" said {F} with a smile. \"When I learned to {skill}, I tried more than a hundred times. Every time I [learned a little more|made a new mistake and learned from it].\"",
    "So {H} practiced every day. {He} practiced in the morning and in the evening, in the sun and in the rain.",
    "?Sometimes {he} was tired and wanted to stop. But then {he} remembered what {F} had said.",
    "Little by little it became easier. [One day {he} hardly made a mistake.|One day it almost worked.]",
    "Then came the big [festival|fair] in {theplace}. Everyone gathered at {spot2}. {^H} was [nervous|so nervous that {his} knees shook].",
    "\"Just do it the way you always do,\" whispered {F}. {^H} [took a deep breath|closed {his} eyes for a moment] and began.",
    "And {he} did it! {^H} could {skill} at last. Everyone [clapped and cheered|shouted with joy].",
    "\"How did you do that?\" asked the others. \"I failed many times,\" said {H}, \"and then I did not.\""]),
("a race|winning and losing", [
    "Every {season} there was a great race in {theplace}. It began at {spot} and ended at {spot2}.",
    "{^H} wanted to win very much. [So did {F1}.|But {F1} was known to be very fast.] \"I am the fastest,\" said {F}. \"We will see,\" said {H}.",
    "On the day of the race everyone came to watch. \"Ready, steady, go!\" called the judge.",
    "At first {F} was ahead. {^H} ran as fast as {he} could. [Dust flew up behind them.|The crowd cheered.]",
    "Near {spot3}, {F} tripped over a root and fell. \"My foot!\" {fhe} cried.",
    "Now {H} was ahead. {He} could see the end of the race. {He} could win! But {he} heard {F} [calling|crying] behind {him}.",
    "{^H} stopped. {He} turned around and ran back. \"[Lean on me|Give me your hand|I will help you],\" {he} said.",
    "Slowly they walked on together, step by step. All the others passed them. They were the very last to arrive.",
    "But when they came to {spot2}, everybody [stood up and clapped|cheered louder than ever].",
    "\"You lost the race,\" said {F}, \"but you won a friend.\" {^H} smiled. \"Then I won the better prize,\" {he} said."]),
("telling the truth|a lie|a broken window|honesty", [
    "One day {H} was playing with a ball near {spot}. {He} kicked it too hard, and [crash|bang]! It went through {F}'s window.",
    "{^H}'s heart beat fast. Nobody had seen it. {He} ran home and hid [behind the door|under the table].",
    "Soon {F1} came by. \"Someone broke my window,\" {fhe} said. \"Do you know who it was?\"",
    "\"[It was the wind|Maybe it was the cat|I do not know],\" said {H}. {^F} [nodded|looked sad] and went away.",
    "But {H} could not [sleep|eat|play]. The lie felt like a heavy stone in {his} [pocket|stomach]. [All night {he} turned from side to side.|Even {food} did not taste good.]",
    "?\"Why did I not tell the truth?\" {he} asked {himself}.",
    "The next morning {H} went to {F}. \"It was me,\" {he} said quietly. \"I broke your window, and then I lied. I am sorry.\"",
    "{^F} was silent for a moment. Then {fhe} smiled. \"A window can be mended in a day,\" {fhe} said. \"Trust takes longer. Thank you for telling me the truth.\"",
    "Together they put in a new window. {^H} [held the glass|paid with {his} own coins|swept up the glass], and {F} did the rest.",
    "The heavy stone was gone, and {H} felt light again."]),
("being afraid of the dark|the night|a star|bedtime", [
    "{^H} was afraid of only one thing: the dark. When night came, every shadow looked like a monster.",
    "\"I wish the sun would never set,\" {he} said to {F1}.",
    "\"But then you would never see the most beautiful thing of all,\" said {F}. \"Come with me tonight, and I will show you.\"",
    "That night they walked to {spot}. {^H} held {F}'s hand very tightly. It was so dark that {he} could not see {his} own feet.",
    "\"Now look up,\" said {F}. {^H} looked up, and {his} mouth fell open. The whole sky was full of stars, thousands and thousands of them.",
    "\"They are there every night,\" said {F}, \"but only the dark can show them to you.\"",
    "?A shooting star crossed the sky. \"Make a wish,\" whispered {F}.",
    "They sat there for a long time. They heard an owl call and [a brook murmur|the leaves whisper]. The night was not silent and not empty. It was full of small, friendly sounds.",
    "When {H} lay in bed later, {he} left the curtain open, so that one bright star could look in.",
    "\"Good night, star,\" said {H}. And {he} was not afraid any more."]),
("a treasure map|treasure|an adventure", [
    "One day {H} found an old map [inside a book|in a bottle|under a loose board]. A red cross was drawn on it, [close to|right beside] {spot2}.",
    "\"A treasure map!\" cried {H}. {He} ran straight to {F1}. \"[Will you come with me|Shall we look for it together]?\"",
    "They packed {food}, a rope and a lamp, and set off. First the map led them past {spot}.",
    "Then they had to [cross a stream on slippery stones|crawl through a narrow hole|climb over a high wall]. {^F} almost fell, but {H} caught {fhim} just in time.",
    "?\"Maybe there is gold,\" said {F}. \"Or a crown with jewels,\" said {H}.",
    "At last they stood at the place with the red cross. They dug and dug until the shovel hit something hard.",
    "It was [a wooden chest|an iron box]. With shaking hands {H} opened the lid. There was no gold inside. There was only [a bag of seeds|a pile of old books|a small bag of seeds] and a letter.",
    "The letter said: \"Whoever finds this has something better than gold: [courage, and a friend to share it with|a friend to search with]. Use what you find and share it.\"",
    "At first they were disappointed. But they took it home and did what the letter said.",
    "By the next {season}, [{theplace} was full of flowers|everyone in {theplace} had something new to talk about], and people came from far away to see it. \"It was a real treasure after all,\" said {F}."]),
("building a {build}|working together", [
    "{^H} had a plan. {He} wanted to build a {build} near {spot}.",
    "\"You cannot do that alone,\" said the neighbors. But {H} had already begun. {He} [carried wood|drew plans|gathered nails and boards] all morning.",
    "By noon {he} was tired, and the {build} [leaned to one side|had already fallen down once]. \"What did I do wrong?\" {he} asked.",
    "{^F1} looked at it. \"It needs a stronger base,\" {fhe} said. \"[I can help with that|I know how to do it|Let me show you].\"",
    "They worked side by side. {^F} [measured|sawed], and {H} [hammered|held the boards]. When one of them was tired, the other one [sang|told a joke].",
    "?Soon others came to help as well. One brought rope, one brought paint, and one brought {food} for everybody.",
    "On the {number}th day it was done. The {build} was [strong and straight|bigger than anyone had expected|painted {color}].",
    "\"We should give it a name,\" said {F}. They called it [The Good Idea|Friendship|The Long Afternoon|Tomorrow].",
    "\"You said that I could not do it alone,\" {H} told the neighbors, \"and you were right. That is why we did it together.\""]),
("a new neighbor|being lonely|making friends", [
    "One day {F0} moved into the empty house near {spot}. Nobody in {theplace} knew {fhim}.",
    "{^F} [kept to {fhimself}|never said a word|always kept the curtains closed]. Some [whispered|said] that {fhe} was [strange|rude|unfriendly].",
    "But {H} was curious. \"Maybe {fhe} is only shy,\" {he} thought. So {he} baked [a cake|some bread|cookies] and knocked on the door.",
    "For a long time nothing happened. Then the door opened a little. \"Yes?\" said a quiet voice.",
    "\"[Welcome to {theplace}|Hello, I am your neighbor],\" said {H}. \"I brought you something to eat.\"",
    "{^F} was so surprised that {fhe} [almost dropped the plate|did not know what to say]. \"Nobody has ever brought me anything,\" {fhe} said.",
    "They sat down and talked. It turned out that {F} also loved {hobby}, and knew [many songs|the names of all the stars|a hundred stories].",
    "?\"Why did you never come out?\" asked {H}. \"I thought that nobody would like me,\" said {F}.",
    "The next day {H} took {F} to {spot2} and told everyone {fhis} name. [Soon {F} had many friends.|The others were sorry that they had whispered.]",
    "\"One knock on the door was all it took,\" {F} said later."]),
("a birthday|a surprise", [
    "It was {H}'s birthday, but nobody seemed to remember. {He} [got up early|put on {his} best hat] and went to {spot}.",
    "\"Good morning,\" said {H}. \"Good morning,\" said the others, \"we are busy.\" And they hurried away.",
    "{^H} went to see {F1}. But {F} was busy too. \"I have no time today,\" said {F}, and {fhe} closed the door.",
    "\"They all forgot,\" thought {H}. {He} sat alone near {spot2} and felt {sad}.",
    "?A tear ran down {his} cheek. Even {food} could not cheer {him} up.",
    "When the sun went down, {H} walked home slowly. {His} house was dark and quiet. {He} opened the door.",
    "\"Surprise!\" shouted a hundred voices. Lamps were lit everywhere. There was [a huge cake|a cake with {number} candles|music and lemonade], and everyone from {theplace} was there.",
    "\"We were so busy because we were [baking|getting everything ready],\" said {F}, and {fhe} gave {H} a {treasure}. \"How could we ever forget you?\"",
    "{^H} laughed and cried at the same time. They [danced|sang] until the moon was high."]),
("a seed|a garden|patience|a flower", [
    "{^F1} gave {H} a small brown seed. \"Plant it,\" said {F}, \"and wait.\"",
    "{^H} planted the seed near {spot} and gave it water. Then {he} sat down and looked at the ground. Nothing happened.",
    "The next day {he} came back. Still nothing. \"[Grow|Please grow]!\" {he} said to the seed. But the seed [did not listen|was silent].",
    "\"It does not work,\" {H} told {F}. \"Maybe the seed is broken.\"",
    "\"Give it time,\" said {F}. \"A seed works in the dark, where nobody can see it.\"",
    "So {H} waited. {He} gave it water when it was dry, and {he} pulled out the weeds. [Days|Weeks] went by.",
    "?It rained for three days, and then the sun came out.",
    "One morning there was a tiny green tip in the earth. {^H} [shouted with joy|could hardly believe it]. \"It is growing!\" {he} cried.",
    "Every day it grew a little taller. By the end of summer it was a [tall sunflower|beautiful rose bush|small tree|great big pumpkin], taller than {H}.",
    "\"You see,\" said {F}, \"you gave it water, sun and time. And time was the hardest part.\"",
    "{^H} kept the new seeds in a box, and the next spring {he} gave one to every neighbor."]),
("music|a song|a broken violin|a concert", [
    "In {theplace} there was no music any more. The old [violin|piano|flute|drum] in the hall was broken, and nobody knew how to mend it.",
    "\"I miss the songs,\" said {F1}. {^H} had never heard a song in {his} life. \"What is music?\" {he} asked.",
    "\"Music is [like talking without words|what feelings sound like|time with colors in it],\" said {F}.",
    "{^H} wanted to hear it. Every evening {he} worked on the old instrument. {He} cleaned it, [glued the wood|mended the strings|polished the metal] and tried again and again.",
    "?At first it only made a terrible noise. The cats ran away, and the neighbors covered their ears.",
    "But {F} remembered an old tune and hummed it. {^H} listened and turned the screws until the sound was right.",
    "Then, one evening, a clear note rose over {theplace}. Windows opened. People came out of their houses and stood still.",
    "{^F} began to sing, and one after another the others joined in. Some of them had tears in their eyes.",
    "From then on there was music every [Sunday|evening] near {spot}. And {H} played [louder|more happily] than anyone."]),
("a lighthouse|a clock|a broken machine|repairing something", [
    "The [big clock|lighthouse lamp|old pump|mill wheel] in {theplace} had stopped. It had worked for a hundred years, and now it stood still.",
    "Nobody knew what to do. \"We need it,\" said the people. \"Who can repair it?\"",
    "\"I will try,\" said {H}. Some of them laughed. \"You? You are only a {Hkind}!\"",
    "{^H} took a lamp and climbed inside with {F1}. It was dark and dusty in there, full of wheels, big ones and small ones.",
    "\"First we look,\" said {H}, \"then we think, and only then we touch anything.\" So they looked at every wheel, one after another.",
    "?\"This one turns, and this one turns, and this one,\" counted {F}.",
    "Deep inside they found the reason. Between two wheels there was a [tiny stone|bird's nest|small nail|bit of string]. \"Such a little thing,\" said {F}, \"and it stopped everything.\"",
    "Very carefully {H} took it out, and {he} put a drop of oil on the wheel. For a moment nothing happened. Then it went tick, and then it went tock, and everything began to move.",
    "Outside the people cheered. \"How did you know where to look?\" they asked. \"I did not know,\" said {H}. \"I looked everywhere, one step at a time.\""]),
("sharing one thing|taking turns|one machine for many|one {share} for everyone", [
    "There was only one {share} in {theplace}, and everyone wanted to use it.",
    "Every day there was a quarrel. \"It is my turn!\" shouted one. \"No, it is mine!\" shouted another. In the end nobody could use it at all.",
    "{^H} watched this for a while. \"There is enough for all of us,\" {he} said. \"We only need a good rule.\"",
    "{^F1} shook {fhis} head. \"How can four share one {share}?\" {fhe} asked.",
    "{^H} drew a big circle in the sand and cut it into four parts. \"Each of us gets a part,\" {he} explained. \"Nobody may take more than that. And when someone does not need a part, another may borrow it until the owner comes back.\"",
    "They tried it. In the morning it was the turn of [the baker|the first family], at noon of [the potter|the second], and so on. {^F} wrote everything down on a board, so that all could see it.",
    "?On the second day somebody tried to take too much. \"Look at the board,\" said {F} kindly, and that was enough.",
    "Soon the {share} was busy from morning to night, and still nobody had to wait for long.",
    "\"It is strange,\" said {F}. \"We have the same {share} as before, but now it feels like four.\"",
    "\"That is because nobody has to fight for it,\" said {H}."]),
("a message in a bottle|a letter|a faraway friend", [
    "One {weather} morning {H} saw something shining in the water near {spot}. It was a bottle with a letter inside.",
    "The letter said: \"Hello! I live far away, and I would like to have a friend. Please write back.\" There was no name on it.",
    "{^H} sat down at once and wrote an answer. {He} wrote about {theplace}, about {spot2}, and about how {he} loved {hobby}. Then {he} put it into the bottle and threw it far out.",
    "\"It will never arrive,\" said the others. But {H} came back to the water every day.",
    "?Weeks went by. The leaves turned yellow and fell.",
    "Then, one day, the bottle was there again. \"You answered!\" said the new letter. \"My name is {Fname2}. Tell me more!\"",
    "So they wrote to each other, all through the winter. They became friends, although they had never met.",
    "In spring a small boat came to {theplace}. In it sat {F0b}, holding an empty bottle. \"Are you {Hn}?\" {Fhe} asked with a smile.",
    "{^H} ran into the water up to {his} knees. \"I thought you would never come!\" {he} cried.",
    "They talked until the stars came out, and still they had not said everything."]),
("being lost|the fog|finding the way home", [
    "One day a thick fog came down on {theplace}. It was so thick that {H} could not see {his} own nose.",
    "{He} had been at {spot}, and now {he} could not find the way home. Everything was [white|gray] and silent.",
    "\"Hello?\" called {H}. \"Hello,\" said a voice. It was {F0}, who was lost as well.",
    "\"I am so glad that I am not alone,\" said {F}. \"Do you know the way?\" \"No,\" said {H}, \"but we can think.\"",
    "They stood still and listened. Far away they heard [water|a bell|a dog]. \"That must be near {spot2},\" said {H}. \"If we follow the sound, we will find the path.\"",
    "Step by step they went on. They held hands so that nobody could get lost. Whenever they were not sure, they stopped and listened again.",
    "?Once they went in a circle and came back to the same stone. \"Then we know one way that is wrong,\" said {F}.",
    "At last the fog became thinner. There was {spot2}, and there was a light in a window. They were home.",
    "\"When you cannot see, you must listen,\" said {H}. {He} made {drink} for both of them, and they sat by the fire until they were warm."]),
("a trade|the market|a clever swap", [
    "{^H} had nothing but a {treasure}. {He} went to the market, because {he} needed a warm coat for the winter.",
    "There {he} met {F1}. \"I like your {treasure},\" said {F}. \"I will give you a basket of apples for it.\" {^H} agreed.",
    "With the apples {he} went on. A woman with a goat stopped {him}. \"My goat loves apples,\" she said. \"I will give you a ball of wool for them.\"",
    "So {H} had a ball of wool. Then {he} met a weaver who was very sad. \"I have no wool left,\" said the weaver, \"and I must finish a blanket today.\"",
    "\"Take mine,\" said {H}. The weaver was {glad}. \"What can I give you for it?\" he asked. \"I have some cloth, but not very much.\"",
    "?\"That is more than enough,\" said {H}.",
    "{^H} took the cloth to the tailor. The tailor looked at it. \"This is just enough for a coat,\" she said, \"and I need someone to sweep my shop. If you help me for one day, I will sew it for you.\"",
    "And so {H} got a warm coat. On the way home {he} met {F} again. {^F} was playing with the {treasure} and looked very happy.",
    "\"It was a good day,\" said {H}. \"Everyone got what they needed, and nobody lost anything.\""]),
("snow|a snowy day|a snowman", [
    "In the morning everything was white. It had snowed all night in {theplace}, and {spot} looked like a big cake with sugar on top.",
    "{^H} ran outside. The snow crunched under {his} feet. \"[Come out|Look at this], {Fcall}!\" {he} called.",
    "{^F1} came out with a sleepy face. Then {fhe} saw the snow, and {fhe} was wide awake.",
    "They rolled a big ball, then a smaller one, and then a very small one. They put them on top of each other. \"He needs a nose,\" said {F}, and {fhe} ran to fetch a carrot.",
    "?They gave the snowman an old hat and a {color} scarf. Now he looked almost alive.",
    "Then they went down the hill on a sledge, again and again, until their cheeks were red and their hands were cold.",
    "Inside there was {drink} and {food}. They sat at the window and looked at the snowman.",
    "\"He will melt in spring,\" said {F} and looked a little sad. \"Yes,\" said {H}, \"and then he will be water, and the water will help the flowers grow. Next winter he will come back.\"",
    "That night the snowman stood under the moon, and it almost looked as if he was smiling."]),
("a riddle|a wise owl|a clever answer", [
    "Near {spot} there lived a wise old [owl|turtle|woman] who asked a riddle of everyone who came by.",
    "\"{riddle_q}\" {fw} said to {H}. \"If you know the answer, I will give you a {treasure}.\"",
    "{^H} thought and thought. {He} asked {F1}, but {F} did not know it. {He} looked for the answer at {spot2}, and {he} looked for it at {spot3}.",
    "?\"Maybe there is no answer,\" said {F}. \"There is always an answer,\" said {H}, \"but sometimes it hides.\"",
    "In the evening {H} sat down and was very still. {He} said the riddle to {himself}, slowly, word by word. And suddenly {he} laughed out loud.",
    "{He} ran back. \"I know it!\" {he} called. \"It is {riddle_a}!\"",
    "\"That is right,\" was the answer. \"You did not give up, and you took your time. Here is your {treasure}.\"",
    "{^H} was {glad}. And from then on {he} asked {F} a new riddle every day."]),
("a wish|being greedy|a golden fish", [
    "One day {H} caught a golden fish near {spot}. To {his} great surprise, the fish could talk.",
    "\"Please let me go,\" said the fish, \"and I will grant you one wish.\" {^H} put it back into the water at once.",
    "\"What should I wish for?\" {H} asked {F1}. \"Gold!\" said {F}. \"Or a palace! Or a ship with {color} sails!\"",
    "{^H} thought about it all night. What would {he} do with gold? {He} could not eat it. What would {he} do in a palace? It would be too big and too cold.",
    "?\"Hurry up,\" said {F}, \"before the fish forgets.\"",
    "In the morning {H} went back to the water. \"Dear fish,\" {he} said, \"I wish that the well in {theplace} may never run dry, so that everyone has enough to drink.\"",
    "\"Nothing for yourself?\" asked the fish. \"I live there too,\" said {H}.",
    "The fish laughed so much that bubbles rose to the top. \"That is the best wish I have heard in a hundred years,\" it said. \"I will grant it.\"",
    "And since that day the well has never been dry, not even in the hottest summer. {^F} helps {H} carry the water, and {fhe} never speaks of gold any more."]),
("a dragon|a monster who was not bad|courage", [
    "Everyone in {theplace} was afraid of the dragon that lived above {spot}. At night they saw smoke and heard a terrible roar.",
    "\"Somebody must go and talk to it,\" said {H}. \"Talk?\" cried {F1}. \"It will eat you!\" But {H} had already put on {his} [hat|coat|boots].",
    "{^F} did not want {H} to go alone. So they climbed up together, higher and higher, until they came to a dark cave.",
    "\"Hello?\" called {H}. {His} voice shook a little. The roar stopped. Two big yellow eyes looked at them.",
    "\"[Why do you roar every night|What is the matter],\" asked {H}, \"[and why do you never sleep|is something wrong]?\"",
    "The dragon began to cry. Its tears were as big as apples. \"I have a [toothache|thorn in my foot|bad cold],\" it said, \"and there is nobody who will help me.\"",
    "\"Is that all?\" said {F}. {^H} rolled up {his} sleeves. It took a long time, and it took all their strength, but then [it was done|the dragon felt better].",
    "\"It does not hurt any more!\" cried the dragon. It was so happy that it blew a ring of smoke into the sky.",
    "?From then on the dragon lit the stove of the baker every morning and dried the clothes when it rained.",
    "\"You were very brave,\" {F} said to {H}. \"I was afraid the whole time,\" said {H}, \"but I went anyway.\""]),
("colors|painting|a picture", [
    "{^H} wanted to paint a picture of {theplace}, but {he} had only one color: {color}.",
    "{He} painted a {color} sky, a {color} house and a {color} tree. \"It looks strange,\" said {F1}. \"Where are the other colors?\"",
    "\"I do not have any,\" said {H}. \"Then let us find some,\" said {F}.",
    "They crushed berries and got a deep purple. From [leaves|grass] they made green, and from the clay near {spot} they made a warm brown. Flowers gave them yellow.",
    "?\"But how do we get the blue of the sky?\" asked {H}. {^F} knew a small blue flower that grew near {spot2}.",
    "Then {H} began to paint. {He} forgot to eat and {he} forgot the time. {^F} held the lamp when it grew dark.",
    "The next day they hung the picture up where all could see it. The people stood in front of it for a long time.",
    "\"That is our {placeword},\" said an old man. \"I have lived here all my life, but I never saw how beautiful it is.\"",
    "\"We only had to look for the colors,\" said {H}. \"They were here all the time.\""]),
("soup|cooking together|a big dinner", [
    "One cold evening {H} put a big pot of water on the fire. \"I am making soup for everyone,\" {he} said.",
    "\"What is in it?\" asked {F1}. \"So far only water,\" said {H}, \"but it will be the best soup in {theplace}.\"",
    "{^F} laughed. \"I have two carrots,\" {fhe} said. \"You may have them.\" In went the carrots.",
    "A neighbor came by. \"What smells so good?\" he asked. \"Soup,\" said {H}. \"It only needs a few potatoes.\" So the neighbor brought potatoes.",
    "One brought onions, one brought beans, and one brought salt. A child brought a single leaf of mint. \"That was just what was missing,\" said {H}.",
    "?{^F} stirred the pot, round and round, while the steam rose to the ceiling.",
    "When the soup was done, they put out a long table. Everyone got a bowl, and there was even some left for seconds.",
    "\"You made a wonderful soup,\" said the neighbor. \"I only boiled the water,\" said {H}. \"All of you made the soup.\""]),
("a journey|a train|visiting grandmother", [
    "{^H} was going to visit {his} grandmother. She lived far away, on the other side of the mountains.",
    "{He} packed {food} and a {treasure} as a present, said goodbye to {theplace}, and got on the [train|bus|boat].",
    "Next to {him} sat {F0}, who looked out of the window. \"Is this your first journey?\" asked {F}. \"Yes,\" said {H}. \"I am a little nervous.\"",
    "\"I will tell you what I do,\" said {F}. \"I count the bridges.\" So they counted bridges together: one, two, three, and many more.",
    "?They passed fields with cows, a blue lake, and a dark tunnel. In the tunnel they both held their breath.",
    "Then {H} noticed that the present was gone. It had fallen under the seat and rolled away! {^F} crawled on the floor and found it behind a suitcase.",
    "When evening came, they arrived. {His} grandmother stood there and waved with both arms. \"You have grown so much!\" she said.",
    "\"This is my friend,\" said {H}. \"We counted {number} bridges.\" \"Then you must both come in,\" said the grandmother. \"There is {food} on the table.\""]),
("the moon|a funny mistake|a pond", [
    "One night {H} walked past the pond and stopped. There was the moon, lying in the water!",
    "\"The moon has fallen down!\" cried {H}. {He} ran to wake {F1}. \"Quick, get up! We must save the moon!\"",
    "{^F} [rubbed {fhis} eyes|took a net|put on a coat] and came along. Sure enough, there it was, round and bright, right in the middle of the pond.",
    "They took a long net and tried to pull it out. But each time the net touched the water, the moon broke into a hundred pieces. \"Now we have broken it!\" cried {H}.",
    "They waited until the water was still, and the moon was whole again. They tried with a bucket, and they tried with a rope. The moon did not want to come out.",
    "?At last {H} leaned too far and fell into the pond with a big splash.",
    "{He} lay on {his} back in the cold water and looked up. And there, high in the sky, was the moon, exactly where it had always been.",
    "\"Look!\" shouted {H}. \"We did it! It is back in the sky!\" {^F} looked up, then down, and began to laugh. {Fhe} laughed so hard that {fhe} had to sit down.",
    "They walked home, one wet and one dry, and the moon walked with them all the way."]),
("books|a library|learning to read|a story about stories", [
    "At {spot} there was a box of old books that nobody had opened for years. {^H} lifted the lid and took one out.",
    "{He} could not read. To {him} the letters looked like [tiny ants|small black birds in the snow]. \"What do they say?\" {he} asked {F1}.",
    "\"This one is an A,\" said {F}, \"and this one is a B. When you know them all, they begin to speak.\"",
    "Every evening {H} learned one letter. {He} drew it in the sand and in the dust on the window. After {number} weeks {he} could read a whole word. The word was \"home\".",
    "?Then {he} read a whole line, and then a whole page, with one finger under the words.",
    "It was a story about a ship that sailed around the world. {^H} could hear the waves and smell the salt, although {he} was sitting on a chair.",
    "Now {H} could not keep it to {himself}. {He} began to read to the others, every evening when the work was done. First two came, then ten, and then everyone in {theplace}.",
    "\"There are a hundred books in the box,\" said {F}. \"That is a hundred journeys,\" said {H}, \"and we have only been on one.\""]),
("a flood|a beaver|a dam|a river", [
    "It rained and rained, and the water rose higher every hour. If it rose any more, {theplace} would be under water.",
    "\"We must build a wall,\" said {H}. \"But the water is so fast,\" said {F1}, \"and we are so few.\"",
    "{^H} ran from door to door and knocked. \"Bring shovels! Bring sacks! Bring everything you have!\" {he} called.",
    "They made a long line from {spot} to {spot2}. Each one gave the sack to the next, hand to hand, all night long. Nobody asked who was rich and who was poor.",
    "?Around midnight a part of the wall broke. {^H} and {F} jumped in and held the boards until new sacks came.",
    "When the morning came, the rain stopped. The water stood just one hand below the top of the wall. Slowly, very slowly, it began to fall.",
    "Everyone was wet, tired and full of mud. But they looked at each other and laughed.",
    "\"I did not know that we were so strong,\" said {F}. \"None of us is,\" said {H}. \"But all of us are.\""]),
("a cat in a tree|helping|being clever", [
    "A small cat had climbed up the tall {tree} near {spot}, and now it did not dare to come down. \"Meow!\" it cried.",
    "{^H} heard it and came running. \"Do not be afraid!\" {he} called. But the cat only climbed higher.",
    "{^F1} brought a ladder, but the ladder was too short. They threw a rope, but the rope fell down again. They called and whistled, but the cat did not move.",
    "?\"Maybe it will fall down by itself, like an apple,\" said {F}. \"I hope not,\" said {H}.",
    "Then {H} had an idea. {He} fetched a basket, tied it to a long rope and put a bit of fish inside. With a stone {he} got the rope over a branch, and then {he} pulled the basket up, higher and higher.",
    "The cat smelled the fish. It put one paw into the basket, then another, and then it sat inside and ate.",
    "Slowly, very slowly, they let the basket down. The cat stepped out and [licked its whiskers|walked away with its tail in the air], as if nothing had happened.",
    "\"It did not even say thank you,\" said {F}. \"It said meow,\" said {H}. \"That is thank you in cat.\""]),
("the first day at school|starting something new|being nervous", [
    "Tomorrow was the first day of school, and {H} could not sleep. What if nobody liked {him}? What if {he} did not know any answers?",
    "In the morning {he} walked to school very slowly. {He} stopped at {spot}, and {he} stopped again at {spot2}.",
    "At the door stood {F0}, who was looking at the ground. \"Is it your first day too?\" asked {H}. {^F} nodded. \"I am scared,\" {fhe} whispered.",
    "\"So am I,\" said {H}. It felt good to say it. \"Let us go in together. Then we are only half as scared.\"",
    "Inside there were [maps on the wall|a globe, a blackboard and many books]. The teacher smiled at them. \"There are two free seats by the window,\" she said.",
    "They learned how to [write their names|count to twenty|draw a map of {theplace}]. {^F} knew things that {H} did not know, and {H} knew things that {F} did not know.",
    "?At lunch they shared their {food}. A girl with a red ribbon asked if she could sit with them.",
    "When the bell rang, {H} was surprised. \"Is it over already?\" {he} asked.",
    "\"How was it?\" {his} family asked in the evening. \"Today I learned that everyone is nervous on the first day,\" said {H}, \"even the teacher.\""]),
("a kite|the wind|flying", [
    "{^H} had made a {color} kite from paper and sticks. It had a long tail with {number} ribbons.",
    "But there was no wind. {^H} ran up and down near {spot} until {he} was out of breath, and the kite only bumped along the ground.",
    "\"You need wind,\" said {F1}. \"I know a hill where it always blows.\" So they walked up the hill behind {spot2}.",
    "At the top the wind nearly took {his} hat. {^F} held the kite up high. \"Now!\" {fhe} shouted, and let go.",
    "Up went the kite, higher than the trees, higher than the birds. The string sang in {H}'s hands.",
    "?\"It wants to fly to the clouds,\" said {F}.",
    "Then there was a snap. The string was broken! The kite danced away over {theplace}, smaller and smaller, until it was only a dot.",
    "{^H} was close to tears. But {F} put an arm around {him}. \"Think of how far it can see now,\" {fhe} said.",
    "The next morning there was a knock. A child from the next village stood at the door with the kite. \"It landed in our garden,\" said the child. \"Can you teach me how to make one?\"",
    "So {H} and {F} taught the child, and soon there were three kites in the sky."]),
("climbing a mountain|a long walk|one step at a time", [
    "Behind {theplace} there was a mountain. {^H} looked at it every day. \"One day I will stand on the top,\" {he} said.",
    "\"It is too high,\" said some. \"It is too steep,\" said others. But {F1} said: \"I will come with you.\"",
    "They started before sunrise, with {food}, water and a rope. At first the path was easy, and they sang as they went.",
    "Then it became steep. {^H}'s legs hurt. \"How far is it to the top?\" {he} asked. \"Do not look at the top,\" said {F}. \"Look at the next step.\"",
    "So {H} looked only at the next step, and then at the next, and then at the next.",
    "?At noon they rested beside a stream and drank the cold, clear water.",
    "A cloud came and hid the path. They waited until it had gone. A rock blocked the way. They helped each other over it.",
    "And then there was no more next step. They were at the top. Below them lay {theplace}, as small as a toy, and far away they could see the shining sea.",
    "\"How did we get up so high?\" asked {H}. \"The same way as everybody,\" said {F}. \"One step after another.\""]),
("feelings|a robot|what it means to be kind", [
    "In {theplace} there was a helper who did everything right: {helper}. It carried heavy boxes, cleaned the windows and never made a mistake.",
    "But there was one thing that {helpname} did not understand. \"Why do people sometimes have water in their eyes?\" it asked {H}.",
    "\"Those are tears,\" said {H}. \"They come when you are sad, and sometimes when you are very happy.\" {^helpname} thought about this for exactly four seconds. \"That is not logical,\" it said.",
    "Then one day {F1} was [ill|sad] and stayed at home. {^helpname} brought soup, as it always did. The soup had the right temperature. But {F} did not smile.",
    "\"What is missing?\" {helpname} asked. \"Stay a little,\" said {H}. \"Sit with {fhim}. You do not have to do anything.\"",
    "So {helpname} sat down beside the bed. It did not clean and it did not carry. It told {F} about the birds that it had counted that day: {number} sparrows and one blue one.",
    "And {F} smiled. Something felt warm inside {helpname}, although its temperature had not changed.",
    "?\"I have checked all my parts,\" it told {H} in the evening. \"I cannot find the reason.\"",
    "\"You will not find it in your parts,\" said {H}. \"That is what it is like to be a friend.\""]),
("the sea|a boat|a whale|sailing", [
    "{^H} had a little boat with a {color} sail. One {weather} day {he} sailed out with {F1}, farther than ever before.",
    "The sea was calm, and the sun made golden spots on the water. They ate {food} and looked down at the fish.",
    "Suddenly the wind stopped. The sail hung down like a wet towel. They waited for an hour, and then for another. Nothing moved.",
    "\"How will we get home?\" asked {F}. There was no land to be seen. They took the oars and rowed, but they soon grew tired.",
    "?The sun was already low, and the water turned dark.",
    "Then the water began to move, and a great gray back rose beside them. It was a whale! It looked at them with one small, friendly eye.",
    "\"Hello,\" said {H} in a small voice. The whale blew a fountain into the air. Then it swam behind the boat and began to push, very gently, with its nose.",
    "They flew over the water like a bird. When the first lights of the shore came into view, the whale turned around, waved with its tail and was gone.",
    "Nobody believed them when they told the story. But every summer {H} sails out and calls \"Thank you!\" across the water, and sometimes, far away, a fountain rises."]),
]

SKILLS = ["swim", "ride a bicycle", "play the flute", "whistle", "dance", "juggle three apples", "bake bread", "skate on the ice", "play the drum", "paint a horse", "sing in tune", "tell a good story"]
BUILDS = ["tree house", "bridge", "boat", "small cabin", "wooden tower", "bird house", "garden shed", "raft", "swing", "windmill"]
SHARES = ["oven", "telescope", "workshop", "computer", "printing press", "well", "boat", "stage", "kitchen", "machine"]
RIDDLES = [
    ("What has hands but cannot clap?", "a clock"), ("What has a neck but no head?", "a bottle"), ("What gets wetter the more it dries?", "a towel"),
    ("What has teeth but cannot bite?", "a comb"), ("What can you catch but not throw?", "a cold"), ("What goes up but never comes down?", "your age"),
    ("What has many leaves but is not a tree?", "a book"), ("What has one eye but cannot see?", "a needle"), ("What runs but never walks?", "water"),
    ("What is full of holes but still holds water?", "a sponge"), ("What follows you all day but leaves you at night?", "your shadow"),
    ("What belongs to you, but others use it more than you do?", "your name"), ("What has a face but no eyes?", "a clock"), ("What can travel around the world while it stays in a corner?", "a stamp"),
    ("The more you take away, the bigger it gets. What is it?", "a hole"), ("What has four legs but cannot walk?", "a table"), ("What breaks when you say its name?", "silence"),
]

ON = re.compile(r"\b([Ii])n((?: a tiny| the) island| (?:a little farm|the farm)\b)")


def story(rng, lists, kind=None, plot=None, opening=None):
    """One story: (its text, its hero's kind, what it is about)."""
    plot = plot or rng.choice(PLOTS)
    cast = Cast(rng, kind)
    env = cast.env
    env["Hn"] = env["Hname"] or rng.choice(LISTS["color"]).capitalize()
    if not env["Hname"] and rng.random() < .5:
        env["H"] = "the " + env["Hkind"]
    env["skill"], env["build"], env["share"] = rng.choice(SKILLS), rng.choice(BUILDS), rng.choice(SHARES)
    env["riddle_q"], env["riddle_a"] = rng.choice(RIDDLES)
    env["fw"] = "a deep voice" if rng.random() < .5 else "the wise one"
    env["placeword"] = env["theplace"].split()[-1]
    env["Fcall"] = env["Fname"] or "my friend"
    env["Fname2"] = env["Fname"] or "Robin"
    env["F0b"] = f"{env['Fname2']}, " + ("a " + env["Fkind"])
    env["helpname"] = rng.choice(["the robot", "the machine"])
    env["helper"] = "a " + rng.choice(["tall", "small", "silver", "round"]) + " " + env["helpname"][4:]
    env["number"] = rng.choice(["four", "six", "seven", "ten"])   # also right before "th"
    env["they"] = "they all"
    about = expand(rng.choice(plot[0].split("|")), rng, env, lists)
    opening = opening or rng.choice(OPEN)
    if "{Hn}" in opening:                       # an opening that names a hero: keep the name
        if not env["Hname"]:
            env["Hn"] = env["Hname"] = rng.choice(["Pip", "Dot", "Bo", "Kit", "Max", "Lulu", "Tam", "Rex"])
        env["H"] = env["Hn"]
    beats = [opening]
    trait = rng.choice(TRAITS)
    introduced = "{F0}" in trait
    if trait and not (introduced and any("{F0" in b for b in plot[1])):
        beats.append(trait)
    else:
        introduced = False
    for b in plot[1]:
        if b[0] == "?":
            if rng.random() < .45:
                continue
            b = b[1:]
        if introduced:
            b = b.replace("{F1}", "{F}").replace("{^F1}", "{^F}")
        elif "{F1}" in b or "{^F1}" in b:
            # the friend's first appearance: half of the time with a word about who it is
            style = rng.choice(["{F1}", "{his} friend {F1}", "{his} neighbor {F1}", "{F1}"]) if env["Fname"] else "{F1}"
            b = b.replace("{F1}", style, 1).replace("{^F1}", "{^x}" if style != "{F1}" else "{^F1}", 1)
            if "{^x}" in b:
                b = b.replace("{^x}", style.replace("{his}", "{His}"))
            introduced = True
        beats.append(b)
        if rng.random() < .1 and len(beats) > 4 and introduced:
            beats.append(rng.choice(SCENES))
        introduced = introduced or "{F0" in b
    beats.append(rng.choice(END))
    if rng.random() < .12 and beats[-1] != "The end.":
        beats.append("The end.")
    text, run = "", 0
    breaks = rng.random() < .7
    for b in beats:
        s = expand(b, rng, env, lists)
        if not s:
            continue
        run += 1
        sep = "" if not text else "\n\n" if breaks and run > 2 and rng.random() < .4 else " "
        run = 0 if sep == "\n\n" else run
        text += sep + s
    text = ON.sub(lambda m: ("O" if m[1] == "I" else "o") + "n" + m[2], text)
    return tidy(text), env["Hkind"], tidy(about)[:1].lower() + tidy(about)[1:], env


KINDS = ANIMALS + CHILD * 3 + MACHINES[:3] + FANTASY + ["knight", "king", "queen", "princess", "farmer", "baker", "sailor", "wizard"]
