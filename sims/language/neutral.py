"""Neutral texts, on which it is measured how far fine-tuning has moved a model: no question, no fact, no voice."""

TEXTS = (
    "The kettle was already warm when she came into the kitchen, so she poured the water over the leaves and waited.",
    "To fold the sheet, lay it flat on the bed, bring the two long edges together, and then fold it in half twice.",
    "He had not expected the train to be full, but every seat was taken and people were standing in the corridor.",
    "A simple way to keep a garden tidy is to spend ten minutes in it every evening, before the light is gone.",
    "The meeting began late because the projector would not start, and nobody knew where the other cable was kept.",
    "When the rain stopped, the children put on their boots and ran outside to look for the deepest puddle.",
    "Beat the eggs with a little milk, add salt, and stir slowly over a low heat until the mixture is just set.",
    "She read the letter twice, put it back into the envelope, and placed it at the bottom of the drawer.",
    "The path goes up through the wood, crosses a small stream, and comes out at the top beside an old stone wall.",
    "If the door sticks in winter, rub some candle wax along its edge, and it will move freely again.",
    "They had agreed to share the cost of the boat, but they could not agree on what colour it should be painted.",
    "After lunch the office was quiet, and all that one could hear was the sound of typing from the next room.",
)
"""Written for this purpose."""
