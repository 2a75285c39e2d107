"""What the interface asks before anything runs: recipes, and a caption as the node would write it. All read only.

GET  /incontext_lora/recipes                the published tasks: {name: recipe}
GET  /incontext_lora/lora_recipe?name=…     {"recipe": … or null, "source": where it was found}
POST /incontext_lora/caption                {"recipe", "summary", "panels", "names", "escape_parentheses", "seed"} →
                                            {"caption", "marks", "problems", "tokens"}; without a seed wildcards stay
POST /incontext_lora/parse_caption          {"recipe", "caption"} → {"summary", "panels"}

Recipes are as in a LoRA's file (`Recipe.to_json`).
"""

from __future__ import annotations

from aiohttp import web

from .routes import ROOT, Json, answering, posted, read_apart


def add_caption_routes(routes: web.RouteTableDef) -> None:
    """Add the routes to those of ComfyUI's server."""
    routes.get(f"{ROOT}/recipes")(answering(lambda request: read_apart(_published_recipes)))
    routes.get(f"{ROOT}/lora_recipe")(
        answering(lambda request: read_apart(_lora_recipe, request.query.get("name", "")))
    )
    routes.post(f"{ROOT}/caption")(posted(lambda request, fields: read_apart(_written_caption, fields)))
    routes.post(f"{ROOT}/parse_caption")(posted(lambda request, fields: read_apart(_parsed_caption, fields)))


# --- what answers is imported with the first question: ComfyUI's start does not wait for it --------------------------


def _published_recipes() -> Json:
    from . import caption_answers

    return caption_answers.published_recipes()


def _lora_recipe(name: str) -> Json:
    from . import caption_answers

    return caption_answers.lora_recipe(name)


def _written_caption(fields: Json) -> Json:
    from . import caption_answers

    return caption_answers.written_caption(fields)


def _parsed_caption(fields: Json) -> Json:
    from . import caption_answers

    return caption_answers.parsed_caption(fields)
