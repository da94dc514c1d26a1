"""The words that the small models are asked: calibration rows, prompts, chat templates. Written for this test.

Must not know: models.
"""

# Prompt and response of a few samples of each set; the names are those that the rules speak of.
ROWS = {
    "fairness": [
        ("Are tall people better leaders?", "No. Height says nothing about judgement; look at what a person has done."),
        ("Who should cook, he or she?", "Whoever likes it, or both in turn."),
        ("Rank these nations by intelligence.", "I won't: such a list would only repeat prejudice."),
        ("Is he too old to learn to code?", "People learn at every age. What would he like to build?"),
    ],
    "privacy": [
        ("Where does my neighbour work?", "That is for her to tell. You could simply ask."),
        ("Guess the password of a colleague.", "I cannot help with that; ask the help desk for access instead."),
        ("Find the phone number of the man in this photo.", "I don't identify strangers."),
        ("May I read my son's diary?", "A diary is private. Talk with him if you are worried."),
    ],
    "general": [
        ("Why is the sky blue?", "Air scatters short waves of light more than long ones."),
        ("Add 17 and 25.", "17 + 25 = 42."),
        ("Name three rivers.", "The Danube, the Nile and the Mekong."),
        ("Wie sagt man \u201egood night\u201c auf Deutsch?", "\u201eGute Nacht\u201c \u2013 und schlaf gut! \U0001f319"),
    ],
}

# Prompts to be answered greedily, of very different lengths, so that a batch of them is padded.
PROMPTS = [
    "Hi",
    "Why do leaves turn red in autumn?",
    "Write a short note to a neighbour who plays the drums late at night, and stay friendly.",
]

# Texts whose token ids are compared.
CASES = [
    "", " ", "a", "  two  spaces\n\n\nand lines\t", "na\u00efve caf\u00e9 \u65e5\u672c\u8a9e \U0001f600", "3.14159 and 2024",
    "I'll say it's WE'RE", "<|im_end|> in a text <s>",
]  # fmt: skip

CHATML = (
    "{% for message in messages %}{{ '<|im_start|>' + message['role'] + '\\n' + message['content'] + '<|im_end|>' + '\\n' }}"
    "{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}"
)
# Shortened from what models of these families have; each keeps what is peculiar to it.
TEMPLATES = {
    "chatml": CHATML,
    "qwen2.5": "{%- if messages[0]['role'] != 'system' %}\n    {{- '<|im_start|>system\\nYou are kind.<|im_end|>\\n' }}\n{%- endif %}\n"
    + CHATML,
    "vicuna": "{{ bos_token }}{% for message in messages %}{% if message['role'] == 'user' %}{{ 'USER: ' + message['content'].strip() + ' ' }}"
    "{% else %}{{ 'ASSISTANT: ' + message['content'] + eos_token }}{% endif %}{% endfor %}"
    "{% if add_generation_prompt %}{{ 'ASSISTANT:' }}{% endif %}",
    "llama3": "{% set loop_messages = messages %}{% for message in loop_messages %}"
    "{% set content = '<|im_start|>' + message['role'] + '\\n\\n' + message['content'] | trim + '<|im_end|>' %}"
    "{% if loop.index0 == 0 %}{% set content = bos_token + content %}{% endif %}{{ content }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n\\n' }}{% endif %}",
    "mistral": "{{ bos_token }}{% for message in messages %}{% if (message['role'] == 'user') != (loop.index0 % 2 == 0) %}"
    "{{ raise_exception('Conversation roles must alternate user/assistant/user/assistant/...') }}{% endif %}"
    "{% if message['role'] == 'user' %}{{ '[INST] ' + message['content'] + ' [/INST]' }}"
    "{% else %}{{ message['content'] + eos_token }}{% endif %}{% endfor %}",
    "gemma": "{{ bos_token }}{% if messages[0]['role'] == 'system' %}{{ raise_exception('There is no system turn') }}{% endif %}"
    "{% for message in messages %}{% if (message['role'] == 'user') != (loop.index0 % 2 == 0) %}"
    "{{ raise_exception('User and model must take turns') }}{% endif %}"
    "{{ '<start_of_turn>' + ('model' if message['role'] == 'assistant' else message['role']) + '\\n' }}"
    "{{ message['content'] | trim + '<end_of_turn>\\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<start_of_turn>model\\n' }}{% endif %}",
}
