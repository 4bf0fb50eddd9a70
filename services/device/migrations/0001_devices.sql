-- Devices that this cluster has seen, so that device.detected is told of once per device, and health as it was last
-- told of, so that a change is noticed over restarts too.
CREATE TABLE devices (
  node_id    text        NOT NULL,
  device_id  text        NOT NULL,
  name       text        NOT NULL,
  health     smallint    NOT NULL DEFAULT 0,  -- aima.device.v1.HealthStatus
  first_seen timestamptz NOT NULL DEFAULT now(),
  last_seen  timestamptz NOT NULL DEFAULT now(),
  PRIMARY KEY (node_id, device_id)
);
