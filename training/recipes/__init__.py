"""How each model is labelled, fitted and measured; all recipes are listed here."""

from training.recipe import Recipe
from training.recipes import churn, content_preference, send_time

RECIPES: dict[str, Recipe] = {
    "send_time": send_time.train,
    "churn": churn.train,
    "content_preference": content_preference.train,
}
