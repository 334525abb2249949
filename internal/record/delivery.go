package record

import (
	"encoding/json"
	"fmt"
)

// Ref names one delivery of a task: its ID and the number that the record gave it.
type Ref struct {
	ID     string `json:"i"`
	Number int64  `json:"n"`
}

// Ticket names one delivery of a group's ticket. Nonce is that of the group's staging: it tells a ticket that came before its
// group's commit from one of another group that had the same ID.
type Ticket struct {
	Group  string `json:"g"`
	Nonce  string `json:"s"`
	Place  int    `json:"k"`
	Number int64  `json:"n"`
}

// Delivery is what travels through asynq: references only; arguments and options lie in the record and come with the claim.
type Delivery struct {
	V      int     `json:"v"`
	Refs   []Ref   `json:"r,omitempty"` // up to MaxRefs tasks
	Ticket *Ticket `json:"t,omitempty"` // or one ticket
}

// Limits and version of a delivery.
const (
	DeliveryVersion = 1
	MaxRefs         = 64
)

// Encode returns the message for asynq.
func (d Delivery) Encode() []byte {
	d.V = DeliveryVersion
	b, _ := json.Marshal(d) //nolint:errchkjson // strings and numbers only
	return b
}

// DecodeDelivery reads a message. A newer version is an error that NewerVersion recognises.
func DecodeDelivery(b []byte) (Delivery, error) {
	var d Delivery
	if err := json.Unmarshal(b, &d); err != nil {
		return d, fmt.Errorf("delivery: %w", err)
	}
	if d.V > DeliveryVersion {
		return d, &VersionError{Version: d.V}
	}
	if d.V < 1 || (len(d.Refs) == 0) == (d.Ticket == nil) || len(d.Refs) > MaxRefs {
		return d, fmt.Errorf("delivery: not one of ours: %d references, version %d", len(d.Refs), d.V)
	}
	return d, nil
}

// VersionError is a delivery that a newer gatherq wrote; hand it back.
type VersionError struct{ Version int }

func (e *VersionError) Error() string {
	return fmt.Sprintf("delivery of version %d, this worker knows %d", e.Version, DeliveryVersion)
}

// HandOver is a delivery that a record waits for: enqueue it, ring, then Mark it.
type HandOver struct {
	Queue    string // without namespace
	Delivery Delivery
	Alone    bool   // it shares its message with no other: a suspect
	First    bool   // it goes to the head of its queue: it has been through it, and others wait for what it holds
	Message  string // the ID that asynq knows its message by, once it is enqueued
}
