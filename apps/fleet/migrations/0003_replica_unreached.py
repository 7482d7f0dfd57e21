from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [
        ("fleet", "0002_proxy_replicas"),
    ]

    operations = [
        migrations.AddField(
            model_name="replica",
            name="unreached_since",
            field=models.DateTimeField(blank=True, null=True),
        ),
    ]
