"""Text written for this project: what the fixture tokenizers are trained on and tested with."""

TRAINING = [
    "The device holds four models at once, and each of them has a quota of its own.",
    "A tenant reserves memory before the driver is called; if the call fails, the reservation is rolled back.",
    "When the scheduler admits a task, it looks at priority, weight and the share that was measured.",
    "Memory that was freed is scrubbed before another tenant may read it.",
    "The pointer stays valid while the pages under it move to another place.",
    "It's raining, they'll stay inside; we've time, you'd better read, I'm sure he isn't late.",
    "In 2024 there were 1234567 requests, 89.5 % of them under 10 ms, at a cost of $0.00012 each.",
    "for (int i = 0; i < n; ++i) {\n    sum += values[i] * weights[i];\n}\nreturn sum;",
    "def mean(values):\n    if not values:\n        raise ValueError('no values')\n    return sum(values) / len(values)\n",
    "fn main() -> Result<(), Error> {\n\tlet model = Model::open(\"tiny.gguf\")?;\n\tprintln!(\"{}\", model.name());\n}",
    "{\"name\": \"tenant\", \"limit\": 4096, \"nodes\": [1, 2, 3], \"shared\": true}",
    "Das Gerät hält vier Modelle, jedes mit eigenem Speicher; die Größe steht im Verzeichnis.",
    "Le modèle répond à chaque élève, même à Noël, où l'été semble loin.",
    "El niño pequeño comió piñas mañana y después durmió.",
    "Модель отвечает быстро, а память остаётся на своём месте.",
    "模型在设备上运行。内存不够时会报告错误。",
    "モデルは装置の上で動く。メモリが足りない時は知らせる。",
    "모델은 장치에서 실행되고 메모리는 나누어진다.",
    "النموذج يعمل على الجهاز والذاكرة محدودة",
    "Good morning 🙂 the rocket 🚀 flies over the 🏔️ and the family 👨‍👩‍👧 waves 👋🏽!",
    "   three spaces before,  two between,\ttabs\t\ttoo, and lines\n\n\nbelow   \n",
    "Once upon a time there was a small machine. The machine could read, and it read all day. "
    "One day the machine read the word that no machine had read before, and it was happy.",
    "The quick reader and the slow writer met at the river; the river was wide and the day was long.",
]

# What tokenizers are asked to encode. Control tokens are added by the fixture, by tokenizer.
TEXTS = [
    "", " ", "  ", "   ", "\n", "\n\n", "\t", "\r\n", " \n ", "a", " a", "a ", "  a  b   c    d",
    "Hello, world!", "hello world", "The device holds four models at once.", "the the the the",
    "HELLO World hELLO", "It's what they'll say; we've heard I'm IT'S THEY'LL WE'VE",
    "don\u2019t can\u2019t won\u2019t", "1", "12", "123", "1234", "12345", "1234567890", "3.14159 and 2,718,281",
    "Price: $12.50 (10 % off!)", "x=y+z*2-1/3;", "a_b-c.d/e\\f", "!!! ??? ... --- ===", "((([[[{{{}}}]]])))",
    "for (int i = 0; i < n; ++i) { sum += a[i]; }", "    def f(x):\n        return x + 1\n\n    # done\n",
    "\tif (a) {\n\t\tb();\n\t}\n", "line one\nline two\r\nline three\n\n\nline six", "trailing spaces   ",
    "trailing newline\n", "   leading spaces", "word  word   word    word",
    "Größe, Straße, Übermut", "\u00e9\u00e8\u00ea e\u0301e\u0300e\u0302", "\u00c5ngstr\u00f6m A\u030angstro\u0308m",
    "El niño comió piñas", "Модель отвечает быстро", "模型在设备上运行。", "モデルは装置の上で動く", "모델은 장치에서",
    "النموذج يعمل على الجهاز", "हिन्दी में पाठ", "ไทยไม่มีช่องว่าง", "mixed 中文 and English и русский",
    "🙂", "🚀🚀🚀", "👨‍👩‍👧 👋🏽 🏔️", "a🙂b", "emoji at the end 🎉", "\u00a0nbsp\u00a0here", "zero\u200bwidth\u200djoin",
    "\ufeffbom", "full\u3000width\u3000space", "½ ² Ⅷ ٣ 五", "ﬁne ﬂow", "\u0000nul\u0001", "\U0001d518\U0001d52b\U0001d526",
    "https://example.org/a?b=c&d=%20e#f", "a\u0300\u0301\u0302b", "CamelCaseAndsnake_case", "\u2581under\u2581bar", "<0x41> <unk2> <not a token>",
]
