package record_test

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/gatherq/gatherq/internal/record"
)

func TestDecision35_ADeliveryCarriesReferencesOnly(t *testing.T) {
	refs := make([]record.Ref, record.MaxRefs+1)
	for i := range refs {
		refs[i] = record.Ref{ID: "t", Number: int64(i) + 1}
	}
	ticket := &record.Ticket{Group: "g", Nonce: "n", Place: 3, Number: 7}
	for _, c := range []struct {
		name string
		d    record.Delivery
		want string // in the error; "" none
	}{
		{"one task", record.Delivery{Refs: refs[:1]}, ""},
		{"as many as may be", record.Delivery{Refs: refs[:record.MaxRefs]}, ""},
		{"a ticket", record.Delivery{Ticket: ticket}, ""},
		{"too many", record.Delivery{Refs: refs}, "65 references"},
		{"neither", record.Delivery{}, "0 references"},
		{"both", record.Delivery{Refs: refs[:1], Ticket: ticket}, "1 references"},
	} {
		got, err := record.DecodeDelivery(c.d.Encode())
		switch {
		case c.want == "" && (err != nil || len(got.Refs) != len(c.d.Refs) || (got.Ticket == nil) != (c.d.Ticket == nil)):
			t.Errorf("%s: %+v, %v", c.name, got, err)
		case c.want != "" && (err == nil || !strings.Contains(err.Error(), c.want)):
			t.Errorf("%s: %v", c.name, err)
		}
	}
	_, err := record.DecodeDelivery([]byte(`{"v":2,"r":[{"i":"a","n":1}],"new":true}`))
	if newer, ok := errors.AsType[*record.VersionError](err); !ok || newer.Version != 2 {
		t.Errorf("a newer version: %v", err)
	}
}

// A time between two milliseconds is the later one: nothing starts early.
func TestDecision42_TimesAreRoundedUp(t *testing.T) {
	whole := time.UnixMilli(1_700_000_000_123)
	for d, want := range map[time.Duration]int64{0: 123, time.Nanosecond: 124, 999 * time.Microsecond: 124, time.Millisecond: 124} {
		if got := record.TimeMillis(whole.Add(d)) % 1000; got != want {
			t.Errorf("%v later: %d, want %d", d, got, want)
		}
	}
	if record.TimeMillis(time.Time{}) != 0 {
		t.Error("none is 0")
	}
}

// What is due after a delay is due no earlier than that after its creation, though Redis' clock counts whole milliseconds.
func TestDecision42_ADelayIsNeverShort(t *testing.T) {
	each(t, func(t *testing.T, s *record.Store, rdb *redis.Client) {
		for i := range 200 {
			nt := task(fmt.Sprint("t", i))
			nt.Delay = time.Duration(i%3+1) * time.Millisecond
			due := time.Now().Add(nt.Delay) // before the creation is sent: where it takes 0.1 ms a short delay shows in nine of ten
			if _, err := s.Create(t.Context(), nt); err != nil {
				t.Fatal(err)
			}
			ms, err := rdb.HGet(t.Context(), s.Keys().Record(nt.ID), "du").Int64()
			if err != nil {
				t.Fatal(err)
			}
			if early := due.Sub(time.UnixMilli(ms)); early > 0 {
				t.Fatalf("a delay of %v ends %v early", nt.Delay, early)
			}
		}
	})
}
