"""The plans behind the point-in-time join; `feature_store.point_in_time` is their front."""
