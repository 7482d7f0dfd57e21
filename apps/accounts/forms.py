"""The sign-in form. The password is checked by ``apps.accounts.signin``, not here."""

from __future__ import annotations

from django import forms


class SignInForm(forms.Form):
    """Email and password. The email is plain text here: whatever is no address is simply wrong, like any other."""

    email = forms.CharField(
        label="Email",
        max_length=254,
        widget=forms.EmailInput(attrs={"autocomplete": "username", "autofocus": True, "autocapitalize": "none", "spellcheck": "false"}),
    )
    password = forms.CharField(
        label="Password", max_length=1024, strip=False, widget=forms.PasswordInput(attrs={"autocomplete": "current-password"})
    )
