"""What a user chooses about tasks, without what carries it out: ComfyUI's start loads this."""

# the published tasks by name: the ten of the method's authors, then the community's
TASKS = (
    "couple-profile",
    "film-storyboard",
    "font-design",
    "home-decoration",
    "portrait-illustration",
    "portrait-photography",
    "ppt-templates",
    "sandstorm-visual-effect",
    "sparklers-visual-effect",
    "visual-identity-design",
    "ace-plus",
    "ic-edit",
    "cat-vton",
    "visual-cloze",
    "ttp-migration",
)
