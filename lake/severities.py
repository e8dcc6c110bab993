"""What happens to a bar that breaks a rule of its series: the rules, their default severities, and the setting."""

from typing import Literal

from pydantic import BaseModel, ConfigDict

Severity = Literal["reject", "flag", "off"]


class Severities(BaseModel):
    """Severity by rule; `LAKEHOUSE_SEVERITY__JUMP=reject` sets the field `jump`.

    `reject` sends the bar to `raw/rejects`, `flag` accepts it with an entry in `raw/flags`, `off` does not look.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    currency_change: Severity = "reject"
    unadjusted_split: Severity = "flag"
    jump: Severity = "flag"
    frozen: Severity = "flag"

    def overruled(self) -> "Severities":
        """These, with `flag` for `reject`: a person has looked at the bars and says that they are right."""
        softened = {rule: "flag" if severity == "reject" else severity for rule, severity in self}
        return Severities.model_validate(softened)
