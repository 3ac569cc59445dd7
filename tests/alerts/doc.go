// Package alerts tests the alarms of metrics/prometheus with Prometheus's own parser and engine.
package alerts
