"""An exported model inside an application: numpy and ONNX Runtime, no Spark, no torch, no MLflow.

Example:
    ```python
    from sparkml_ops import embedded

    model = embedded.load("flights.onnx")
    model.predict([{"distance": 1400.0, "carrier": "UA"}, {"distance": None, "carrier": "AA"}])
    # {'probability': [0.21, 0.18]}
    ```
"""

from __future__ import annotations

from sparkml_ops.embedded.model import EmbeddedModel, load

__all__ = ["EmbeddedModel", "load"]
