package record

import (
	"encoding/json"
	"fmt"
	"time"
)

// Defaults of Options, where a field is not said.
const (
	DefaultBackoffInitial = time.Second
	DefaultBackoffMax     = 5 * time.Minute
	DefaultTimeout        = 30 * time.Minute
	DefaultGrace          = 30 * time.Second
	DefaultMaxCrashes     = 3
)

// Options are the settings of a task that only its worker needs. They lie in the record as JSON, opaque to all scripts but for
// MaxCrashes, and come with the claim. What is not said has its default, so the options of most tasks take no byte.
type Options struct {
	Retries          int    `json:"r,omitempty"`  // charged failures that are tried again
	BackoffInitialMS int64  `json:"bi,omitempty"` // 0: DefaultBackoffInitial
	BackoffMaxMS     int64  `json:"bm,omitempty"` // 0: DefaultBackoffMax
	TimeoutMS        int64  `json:"to,omitempty"` // of one delivery's running time; 0: DefaultTimeout
	GraceMS          *int64 `json:"gr,omitempty"` // nil: DefaultGrace; 0 is said, and none
	MaxCrashes       int    `json:"mc,omitempty"` // 0: DefaultMaxCrashes. Scripts read this one
}

// Encode returns the stored form, empty where everything has its default.
func (o Options) Encode() []byte {
	if o == (Options{}) {
		return nil
	}
	b, _ := json.Marshal(o) //nolint:errchkjson // numbers only
	return b
}

// DecodeOptions reads the stored form; empty is all defaults. Fields that a newer version wrote are passed over.
func DecodeOptions(b []byte) (Options, error) {
	var o Options
	if len(b) == 0 {
		return o, nil
	}
	if err := json.Unmarshal(b, &o); err != nil {
		return Options{}, fmt.Errorf("options: %w", err)
	}
	return o, nil
}

// Backoff returns the wait before the first retry and the bound to which it doubles.
func (o Options) Backoff() (initial, limit time.Duration) {
	return orDefault(o.BackoffInitialMS, DefaultBackoffInitial), orDefault(o.BackoffMaxMS, DefaultBackoffMax)
}

// Timeout returns the longest running time of one delivery.
func (o Options) Timeout() time.Duration { return orDefault(o.TimeoutMS, DefaultTimeout) }

// Grace returns how long a handler may clean up after a cancel or its time-out.
func (o Options) Grace() time.Duration {
	if o.GraceMS == nil {
		return DefaultGrace
	}
	return time.Duration(*o.GraceMS) * time.Millisecond
}

func orDefault(ms int64, d time.Duration) time.Duration {
	if ms <= 0 {
		return d
	}
	return time.Duration(ms) * time.Millisecond
}
