package fleet

import "time"

// How a survivor tells death from a stall. All of it is measured on its own clock, over its own reads.
const (
	// readsApart is the longest way between two reads; more is a gap: Redis was away, or this process had no turn. Behind a gap silence is
	// measured anew, so that what silences everybody is nobody's death. Another master is a gap as well, however short: others
	// may find it later than this survivor.
	readsApart = 1500 * time.Millisecond

	// deadAfter is the silence of a worker that has beaten since the last gap and that nobody listens for: its connections are
	// closed.
	deadAfter = 2500 * time.Millisecond

	// deadUnseen is the same where no beat was seen since the last gap, say of one that died with it, or before this survivor
	// began: after an outage of Redis it may take a living one some seconds to come back.
	deadUnseen = 6 * time.Second

	// deadConnected is the silence of a worker whose subscription stands, or of which that is not known: it is stopped, cut off, or
	// its host has vanished. A worker without a turn on a busy machine was seen to be silent for 6 s.
	deadConnected = 15 * time.Second

	// deadAcross is the silence with gaps in it of any worker, where each gap counts as readsApart and no more. Else a survivor all of whose
	// reads are far apart, on a machine without a free core, would find nobody dead ever. What makes it sound is the number of reads: Redis
	// has answered this survivor 15 times, or as good as that, and not once had the worker beaten in between. It is so much that behind one gap
	// a worker has deadUnseen as ever, whatever silence lies before it: nobody is so silent for longer than deadConnected. And a gap's
	// length says nothing, so a long outage is no worse than a short one.
	deadAcross = deadConnected + readsApart + deadUnseen

	// clocksApart is how far Redis' clock and ours may differ in what they say of the time between two reads. More is a jump (a
	// failover, a clock that was set), and counts as a gap.
	clocksApart = 100 * time.Millisecond
)

// quiet is a worker that may be dead.
type quiet struct {
	Late
	silent    time.Duration
	connected bool          // it is dead also if its subscription stands
	trip      time.Duration // that the answer took which says so
}

// judge measures the silence of the others. It is one survivor's, and sees its reads in their order.
//
// Redis' clock is used in one way: where it has gone along with ours since the last gap, the time that it gave to a beat since then
// says how long ago that was. So a survivor need not read the beats of all who live.
type judge struct {
	began  Reading // the first since the last gap
	last   Reading
	silent map[string]silence // of those that were late at the last read
}

// silence is what this survivor has seen of one that is late.
type silence struct {
	beat   int64
	since  time.Time     // answer of the first read of this beat since the last gap
	before time.Duration // what was seen of the silence before that, the gap included; 0: there was none
}

// read takes in what a beat's answer says, and returns who may be dead by it, and how long the gap was that lies before it, if there is one.
func (j *judge) read(r Reading) (out []quiet, gap time.Duration) {
	before := j.last
	switch {
	case r.Anew || before.Answered.IsZero():
		j.began, j.silent = r, nil
	case r.Master != before.Master || apart(before, r) > readsApart || jumped(before, r):
		j.began, gap = r, max(apart(before, r), 1)
	}
	j.last = r
	now := make(map[string]silence, len(r.Late))
	for _, l := range r.Late {
		s, ok := j.silent[l.ID]
		switch {
		case !ok || s.beat != l.Beat:
			s = silence{beat: l.Beat, since: r.Answered}
		case gap > 0:
			s.before += max(before.Sent.Sub(s.since), 0) + min(r.Answered.Sub(before.Answered), readsApart)
			s.since = r.Answered
		}
		now[l.ID] = s
		if q, dead := j.weigh(l, s); dead {
			out = append(out, q)
		}
	}
	j.silent = now
	return out, gap
}

// weigh says whether one that is late may be dead by the last read.
func (j *judge) weigh(l Late, s silence) (q quiet, dead bool) {
	r, limit := j.last, deadUnseen
	q = quiet{Late: l, silent: r.Sent.Sub(s.since), trip: r.Answered.Sub(r.Sent)}
	across := s.before + max(q.silent, 0)
	if l.At.After(j.began.Now) && !l.At.After(r.Now) {
		q.silent = max(q.silent, min(r.Now.Sub(l.At), r.Answered.Sub(j.began.Answered)))
		limit = deadAfter
	}
	q.connected = q.silent >= deadConnected || across >= deadAcross
	dead = q.silent >= limit || q.connected
	q.silent = max(q.silent, across)
	return q, dead
}

// apart is how long there was no read before b.
func apart(a, b Reading) time.Duration { return max(b.Answered.Sub(a.Answered), b.Now.Sub(a.Now)) }

// jumped reports whether Redis' clock and ours disagree about the time between two reads.
func jumped(a, b Reading) bool {
	there := b.Now.Sub(a.Now)
	return there < b.Sent.Sub(a.Answered)-clocksApart || there > b.Answered.Sub(a.Sent)+clocksApart
}
