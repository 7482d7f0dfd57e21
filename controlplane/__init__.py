"""The Django project: settings, the launcher, config as code, the demo."""
