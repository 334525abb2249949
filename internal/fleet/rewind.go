package fleet

import "time"

// rewindPatience is how long after Redis went back nobody is judged while the shards are looked through. Where that fails for good, the dead
// must be found all the same. A leader that did not notice makes a pass of its own within that time.
const rewindPatience = 30 * time.Second

// rewound sees to it that every shard is looked through, apart, so that beats go on. All workers notice, at the same moment, and one looks:
// who leads. The others leave the dead to that one for as long as it may be at it, and one that comes to lead meanwhile looks. taking is held.
func (b *Beat) rewound(mark int64) {
	b.cfg.Repairs.Repaired(RepairRollback, 1)
	b.anew = true
	b.patient.Store(new(time.Now().Add(rewindPatience)))
	b.cfg.Log.Warn("Redis has gone back to an earlier state: it was restored from a backup, or a failover has lost writes; every shard is looked through",
		"worker", b.cfg.ID, "mark", mark, "before", b.mark)
	if b.looking.Swap(true) {
		return
	}
	b.wg.Go(func() {
		defer b.looking.Store(false)
		ctx := b.life
		for pause := rewindPause; ; pause = min(2*pause, rewindPauses) {
			if b.Errands().Leads {
				err := b.cfg.Rewound(ctx)
				if err == nil || ctx.Err() != nil {
					return
				}
				b.cfg.Log.Warn("could not look through every shard; it is tried again", "worker", b.cfg.ID, "err", err)
			} else if time.Now().After(*b.patient.Load()) {
				return
			}
			select {
			case <-time.After(pause):
			case <-ctx.Done():
				return
			}
		}
	})
}

// Pauses between tries to look through every shard grow between these.
const (
	rewindPause  = 100 * time.Millisecond
	rewindPauses = 5 * time.Second
)
