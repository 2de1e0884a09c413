"""One base for what is no bad argument."""

import pytest

import jaxcnn
from jaxcnn import data, train, weights


@pytest.mark.parametrize(
    ("error", "also"),
    [(data.DataError, Exception), (weights.WeightsError, ValueError), (train.NonFiniteLoss, ArithmeticError)],
)
def test_all_errors_of_our_own_have_one_base(error, also):
    assert issubclass(error, jaxcnn.JaxcnnError) and issubclass(error, also)
    assert not issubclass(ValueError, jaxcnn.JaxcnnError)
