"""E-mail through the installation's mail server: one for each address, so that nobody learns the others'; those of a group make one thread.

The server is connected to before anything is handed over, so that one that is away is a clear *again*. Source: RFC 5322 (Message-ID,
References), RFC 3834 (Auto-Submitted).
"""

from __future__ import annotations

import hashlib
import smtplib

from django.conf import settings
from django.core.mail import EmailMessage, get_connection

from apps.alerts.channels.base import Again, Doubtful, Message, Open, Receiver, Refused, cut


class Email:
    """One e-mail an address."""

    def send(self, message: Message, to: Receiver, *, open_client: Open) -> str:
        """To every address. One that the server takes counts; what it says of others is told."""
        if not settings.EMAIL_HOST:
            raise Refused("no mail server is set: BULKHEAD_SMTP_URL")
        addresses = [address.strip() for address in to.address.split(",") if address.strip()]
        server = get_connection()
        try:
            server.open()
        except smtplib.SMTPAuthenticationError as error:
            raise Refused("the mail server refused the sign-in of BULKHEAD_SMTP_URL") from error
        except (OSError, smtplib.SMTPException) as error:
            raise Again(f"the mail server: {type(error).__name__}") from error
        refused = []
        try:
            for number, address in enumerate(addresses):
                try:
                    server.send_messages([self.mail(message, to, address, number)])
                except (smtplib.SMTPResponseException, smtplib.SMTPRecipientsRefused) as error:
                    refused.append((address, _temporary(error)))
                except (OSError, smtplib.SMTPException) as error:
                    raise Doubtful(f"the mail server broke off ({type(error).__name__})") from error
        finally:
            server.close()
        if len(refused) == len(addresses):
            if all(temporary for _, temporary in refused):
                raise Again("the mail server refused it for now")
            raise Refused("the mail server refused it")
        return f"refused for {', '.join(address for address, _ in refused)}" if refused else ""

    def mail(self, message: Message, to: Receiver, address: str, number: int) -> EmailMessage:
        """The e-mail to one address."""
        thread = f"<{hashlib.sha256(message.key.encode()).hexdigest()[:32]}.alerts@bulkhead>"
        headers = {
            "Message-ID": f"<{to.id}.{number}.alerts@bulkhead>",
            "References": thread,
            "In-Reply-To": thread,
            "Auto-Submitted": "auto-generated",
        }
        lines = [message.text]
        if message.answer_url:
            lines.append(f"Acknowledge or silence: {message.answer_url}")
        if message.url:
            lines.append(f"Everything about it: {message.url}")
        lines += [f"{label}: {url}" for label, url in message.links]
        subject = cut(" ".join(f"[Bulkhead] {message.title}".split()), 250)
        return EmailMessage(subject, "\n\n".join(lines) + "\n", settings.DEFAULT_FROM_EMAIL, [address], headers=headers)


def _temporary(error: smtplib.SMTPException) -> bool:
    codes = [error.smtp_code] if isinstance(error, smtplib.SMTPResponseException) else [code for code, _ in error.recipients.values()]  # type: ignore[attr-defined]
    return all(400 <= code < 500 for code in codes)
