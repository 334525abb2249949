package fleet

import (
	"maps"
	"sync"
)

// Repair is a kind of thing that the fleet mends by itself, without an error for anybody.
type Repair string

// The kinds. docs/operations.md says of each what to do where it grows.
const (
	RepairDead     Repair = "dead_worker"       // a worker was declared dead and buried
	RepairTaken    Repair = "dead_holding"      // a task, member or ticket was taken from a dead worker, to be delivered again
	RepairUndone   Repair = "death_undone"      // this worker had been declared dead, and beats
	RepairHolding  Repair = "unknown_holding"   // the records named this worker as holder of what it does not know; given back
	RepairPutBack  Repair = "stray_put_back"    // a delivery that was handed out and never arrived went back to its queue
	RepairRemoved  Repair = "stray_removed"     // the same, and nobody waited for it: removed
	RepairHandOver Repair = "handover_late"     // a hand-over that nobody had marked was done again
	RepairBind     Repair = "group_bound"       // a group whose creator had not bound it was bound
	RepairSweep    Repair = "group_swept"       // a group was swept that had been cancelled or was past its time
	RepairOutbox   Repair = "outbox_late"       // an end was told that its deliverer had left untold
	RepairVanished Repair = "delivery_vanished" // a delivery that asynq does not have any more was made again
	RepairAstray   Repair = "delivery_astray"   // a delivery that another asynq server took or failed on was made again
	RepairArchived Repair = "delivery_archived" // what a delivery carried was cancelled, since somebody archived it by hand
	RepairTicket   Repair = "ticket_missing"    // a group with unclaimed members and no ticket got one
	RepairLink     Repair = "link_missing"      // a member from elsewhere was linked that nothing tied to its group any more
	RepairUntold   Repair = "end_untold"        // a group heard of a member's end that no outbox had any more
	RepairUnlisted Repair = "holder_unlisted"   // a worker that holds something was put back on the list, for the reaper to judge
	RepairRollback Repair = "rolled_back"       // the namespace's marker went backwards: Redis was restored from a backup
)

// RepairKinds are all kinds that this version knows, each of which is counted from zero.
var RepairKinds = []Repair{
	RepairDead, RepairTaken, RepairUndone, RepairHolding, RepairPutBack, RepairRemoved, RepairHandOver, RepairBind, RepairSweep, RepairOutbox,
	RepairVanished, RepairAstray, RepairArchived, RepairTicket, RepairLink, RepairUntold, RepairUnlisted, RepairRollback,
}

// Repairs counts what one process has repaired, by kind. Its zero value is ready, a nil one counts nothing. It is safe for
// concurrent use.
type Repairs struct {
	mu sync.Mutex
	n  map[Repair]uint64
}

// Repaired counts n repairs of a kind; none and fewer count nothing.
func (r *Repairs) Repaired(kind Repair, n int) {
	if r == nil || n <= 0 {
		return
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.n == nil {
		r.n = make(map[Repair]uint64)
	}
	r.n[kind] += uint64(n)
}

// Counts returns how often each kind was repaired, all of RepairKinds included.
func (r *Repairs) Counts() map[Repair]uint64 {
	counts := make(map[Repair]uint64, len(RepairKinds))
	for _, kind := range RepairKinds {
		counts[kind] = 0
	}
	if r == nil {
		return counts
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	maps.Copy(counts, r.n)
	return counts
}
