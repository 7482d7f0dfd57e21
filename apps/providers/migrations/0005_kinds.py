from __future__ import annotations

from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("providers", "0004_price_book")]

    operations = [
        migrations.AlterField(
            model_name="provider",
            name="kind",
            field=models.CharField(
                choices=[
                    ("openai", "OpenAI-compatible"),
                    ("anthropic", "Anthropic"),
                    ("gemini", "Google Gemini"),
                    ("azure", "Azure OpenAI"),
                    ("responses", "OpenAI Responses only"),
                ],
                max_length=40,
            ),
        ),
    ]
