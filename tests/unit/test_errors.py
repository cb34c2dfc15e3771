import pytest

from kvmguest import errors

BACKEND_ERRORS = (
    errors.Unreachable,
    errors.Silent,
    errors.Refused,
    errors.GuestNotFound,
    errors.GuestAmbiguous,
    errors.WrongState,
    errors.RunsElsewhere,
    errors.OperationFailed,
)


def test_a_config_error_carries_every_complaint() -> None:
    error = errors.ConfigError(["the first", "the second"])
    assert error.complaints == ("the first", "the second")
    assert str(error) == "the first; the second"


@pytest.mark.parametrize("kind", BACKEND_ERRORS)
def test_no_backend_error_is_caught_with_another(kind: type[errors.BackendError]) -> None:
    """Not found and not reachable in one except clause is how a running guest gets lost."""
    assert kind.__bases__ == (errors.BackendError,)


def test_every_failure_is_in_the_drawing() -> None:
    assert errors.__doc__ is not None
    for kind in (*BACKEND_ERRORS, errors.ConfigError, errors.BackendError):
        assert kind.__name__ in errors.__doc__
