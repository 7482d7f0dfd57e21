"""When each of two secrets of a key was used last: one look-up in an index that has only the requests of keys with two secrets."""

from django.db import migrations

CREATE = """
CREATE INDEX usage_request_secret ON usage_request (key_id, (flags ? 'secret:replaced'), started_at)
    WHERE flags ?| ARRAY['secret:present', 'secret:replaced'];
"""


class Migration(migrations.Migration):
    dependencies = [("usage", "0008_gaps")]
    operations = [migrations.RunSQL(CREATE, "DROP INDEX usage_request_secret")]
