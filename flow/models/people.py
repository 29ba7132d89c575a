"""Who may log in, what they may see, and what they did."""

from __future__ import annotations

import hashlib
import secrets
from datetime import timedelta
from typing import Any

from django.contrib.auth.base_user import AbstractBaseUser, BaseUserManager
from django.db import models
from django.utils import timezone

from flow.models.customers import Customer, Site


class Role(models.TextChoices):
    """What a user may do. An administrator sees every site, the others those granted."""

    ADMINISTRATOR = "administrator", "Administrator"
    MANAGER = "manager", "Manager"
    VIEWER = "viewer", "Viewer"


def digest(token: str) -> str:
    """What is stored of a secret link or token: enough to recognise it, not to use it."""
    return hashlib.sha256(token.encode()).hexdigest()


class UserManager(BaseUserManager["User"]):
    def create_user(self, email: str, password: str | None = None, **fields: Any) -> User:
        user = self.model(email=email.strip().lower(), **fields)
        user.set_password(password)
        user.save(using=self._db)
        return user

    def get_by_natural_key(self, username: str | None) -> User:
        return self.get(email=(username or "").lower())


class User(AbstractBaseUser):
    email = models.EmailField(unique=True)
    name = models.CharField(max_length=100, blank=True)
    customer = models.ForeignKey(Customer, models.PROTECT, related_name="users")
    role = models.CharField(max_length=16, choices=Role, default=Role.VIEWER)
    sites = models.ManyToManyField(Site, blank=True, related_name="users")
    is_active = models.BooleanField(default=True)
    joined_at = models.DateTimeField(auto_now_add=True)

    objects = UserManager()
    USERNAME_FIELD = "email"

    def __str__(self) -> str:
        return self.name or self.email

    @property
    def is_administrator(self) -> bool:
        return self.role == Role.ADMINISTRATOR

    @property
    def may_manage(self) -> bool:
        return self.role in (Role.ADMINISTRATOR, Role.MANAGER)

    def visible_sites(self) -> models.QuerySet[Site]:
        """Every site of the customer for an administrator, the granted ones for others."""
        if self.is_administrator:
            return Site.objects.filter(customer=self.customer_id)
        return self.sites.filter(customer=self.customer_id)


class Secret(models.Model):
    """Something a person holds as a random string; only its digest is kept."""

    digest = models.CharField(max_length=64, unique=True)
    created_at = models.DateTimeField(auto_now_add=True)
    expires_at = models.DateTimeField()

    class Meta:
        abstract = True

    @classmethod
    def issue(cls, *, days: int, **fields: Any) -> tuple[Any, str]:
        """Store a new one; returns it and the string, which cannot be shown again."""
        token = secrets.token_urlsafe(32)
        expires = timezone.now() + timedelta(days=days)
        return cls.objects.create(digest=digest(token), expires_at=expires, **fields), token

    @classmethod
    def valid(cls, token: str) -> Any:
        """The one that belongs to `token`, or None when there is none or it has expired."""
        now = timezone.now()
        return cls.objects.filter(digest=digest(token), expires_at__gt=now).first()

    objects: models.Manager[Any] = models.Manager()


class Invitation(Secret):
    email = models.EmailField()
    customer = models.ForeignKey(Customer, models.CASCADE)
    role = models.CharField(max_length=16, choices=Role)
    sites = models.ManyToManyField(Site, blank=True)
    invited_by = models.ForeignKey(User, models.CASCADE)


class ApiToken(Secret):
    """Acts for its user, never with more rights than the user has at that moment."""

    user = models.ForeignKey(User, models.CASCADE, related_name="tokens")
    name = models.CharField(max_length=60)
    last_used = models.DateTimeField(null=True)


class AuditEntry(models.Model):
    """One act of a person. Entries are only ever added; the application has no way to change one.

    Attributes:
        actor: e-mail at that time, kept when the account goes.
        action: a fixed word, such as `user_invited`.
        target: what it was done to, in words.
    """

    at = models.DateTimeField(default=timezone.now, db_index=True)
    customer = models.ForeignKey(Customer, models.CASCADE, null=True)
    actor = models.CharField(max_length=254)
    action = models.CharField(max_length=40)
    target = models.CharField(max_length=300, blank=True)
    address = models.GenericIPAddressField(null=True)

    class Meta:
        ordering = ["-at", "-id"]
        indexes = [models.Index(fields=["customer", "-at"])]
