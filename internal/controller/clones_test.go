package controller

import (
	"testing"
	"time"

	"understudy/internal/dr"
	"understudy/internal/recovery"
	"understudy/internal/store"
)

// TestCloneOfReplicated copies a machine that is replicated from a recovery point made for it, and one that is not from
// the machine itself.
func TestCloneOfReplicated(t *testing.T) {
	s := setUp(t)
	ctx := t.Context()
	addMachine(t, s.east, "db")
	addMachine(t, s.east, "lone")
	if err := s.PutPolicy(ctx, dr.Policy{Name: "fast", RPO: time.Hour, Keep: []dr.Tier{{For: time.Hour}}}); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Protect(ctx, shop); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Sync(ctx, "shop"); err != nil {
		t.Fatal(err)
	}
	for _, machine := range []string{"db", "lone"} {
		s.east.WriteDisk(dr.DiskID{Machine: machine, Disk: "data"}, 8192, []byte("a moment ago"))
		run, err := s.Copy(ctx, recovery.KindClone, recovery.CloneSpec{Machine: machine, Site: "east", As: machine + "-twin"}, "ann")
		if err != nil {
			t.Fatal(err)
		}
		s.reach(t, run, store.RunSucceeded)
		if got := string(s.east.ReadDisk(dr.DiskID{Machine: machine + "-twin", Disk: "data"}, 8192, 12)); got != "a moment ago" {
			t.Errorf("%s: %q", machine, got)
		}
		_, res, err := s.recovery.Result(ctx, run.ID)
		if err != nil || (res.Clone.Point != "") != (machine == "db") || res.Clone.To != "east" {
			t.Errorf("%s: %+v %v", machine, res.Clone, err)
		}
	}
	if list, err := s.Grants(ctx, true); err != nil || len(list) != 0 {
		t.Errorf("%+v %v", list, err)
	}
	if err := s.RevokeGrant(ctx, "g0", "ann"); dr.KindOf(err) != dr.KindNotFound {
		t.Error(err)
	}
	if _, err := s.Copy(ctx, recovery.KindMove, recovery.CloneSpec{Machine: "db", Site: "east", To: "west"}, "ann"); dr.KindOf(err) != dr.KindConflict {
		t.Error(err)
	}
}
