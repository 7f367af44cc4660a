"""What mail providers tell by webhook, as events: one file per provider, all listed here."""

from features.events.esp.adapter import Adapter
from features.events.esp.mailgun import Mailgun
from features.events.esp.postmark import Postmark
from features.events.esp.segment import Segment
from features.events.esp.sendgrid import SendGrid
from features.events.esp.ses import Ses
from features.events.esp.sparkpost import SparkPost

ADAPTERS: dict[str, Adapter] = {
    adapter.provider: adapter
    for adapter in (SendGrid(), Ses(), Mailgun(), Postmark(), SparkPost(), Segment())
}
