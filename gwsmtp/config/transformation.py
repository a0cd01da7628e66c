"""Address Transformation, rows 88-89 of the manual: rules this interface applies.

The rules themselves are made on another page of the product (Address Transformation Manager); here
they are chosen, ordered and narrowed. ``definitions`` is that page in our file.
"""

from typing import Annotated, Any

from pydantic import AfterValidator, BeforeValidator, Field

from gwsmtp.config.setting import Group, setting
from gwsmtp.config.types import Switch, Text

_TriState = Annotated[bool | None, Field(strict=True)]
_MAX_PATTERN = 320


def _match(text: str) -> str:
    if not text or text.count("@") > 1 or any(c.isspace() for c in text):
        raise ValueError("must be an address with * and ?, such as *@old.example or *.example")
    return text


def _rule_row(value: Any) -> Any:
    return {"name": value} if isinstance(value, str) else value


class TransformationRule(Group):
    """A rule: what it matches and what stands there afterwards."""

    name: Text = setting(title="Rule", description="The rule's name.", min_length=1, max_length=100)
    enabled: Switch = setting(True, title="Enabled", description="The rule may be used.")
    notes: Text = setting("", title="Notes", description="Free text; no effect.")
    inbound: Switch = setting(
        True, title="Inbound", description="Applies to mail for hosted recipients."
    )
    outbound: Switch = setting(True, title="Outbound", description="Applies to all other mail.")
    sender: Switch = setting(True, title="Sender", description="Applies to the sender.")
    recipient: Switch = setting(True, title="Recipient", description="Applies to recipients.")
    match: Annotated[Text, AfterValidator(_match)] = setting(
        title="Match",
        description="Address with * and ?, in quotes; without @ it is matched on the domain.",
        max_length=_MAX_PATTERN,
    )
    replace: Annotated[Text, AfterValidator(_match)] = setting(
        title="Replacement",
        description="New address; %1 to %9 are the matched groups in order, a lone * the group of "
        "the same position.",
        max_length=_MAX_PATTERN,
    )


class Override(Group):
    """Blank: as in the rule."""

    inbound: _TriState = setting(None, title="Direction in", description="true, false or blank.")
    outbound: _TriState = setting(None, title="Direction out", description="true, false or blank.")
    sender: _TriState = setting(None, title="Address sender", description="true, false or blank.")
    recipient: _TriState = setting(
        None, title="Address recipient", description="true, false or blank."
    )


class ChosenRule(Group):
    """A rule this interface uses; a plain text in the file is a row with only its name."""

    name: Text = setting(title="Rule", description="Name of the rule.", min_length=1)
    enabled: Switch = setting(True, title="Enabled", description="The rule is used here.")
    override: Override = setting(
        Override(),
        row=89,
        title="Override direction and address",
        description="Changes the rule's four switches for this interface only.",
    )


class AddressTransformationGroup(Group):
    """The order here is the order of trial; the first rule that matches an address is applied."""

    rules: tuple[Annotated[ChosenRule, BeforeValidator(_rule_row)], ...] = setting(
        (),
        row=88,
        title="Available transformation rules",
        description="Rules this interface uses, in order: a name or the keys below.",
        max_length=1000,
    )
    definitions: tuple[TransformationRule, ...] = setting(
        (),
        title="Address Transformation Manager",
        description="The rules there are, with the keys below.",
        max_length=1000,
    )
