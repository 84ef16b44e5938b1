package controller

import (
	"testing"

	"understudy/internal/dr"
	"understudy/internal/recovery"
)

// TestProtectAgainAtOnce follows the way back right after a failover, while the old site's lease is still running: the
// group is refused as it is, forgotten, and protected where it runs now.
func TestProtectAgainAtOnce(t *testing.T) {
	s := replicated(t)
	ctx := t.Context()
	s.run(t, recovery.KindFailover)
	s.run(t, recovery.KindCommit)
	group, err := s.store.Group(ctx, "shop")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := s.Protect(ctx, group); dr.KindOf(err) != dr.KindConflict || dr.Hint(err) == "" {
		t.Errorf("protect a committed group: %v", err)
	}
	if err := s.Unprotect(ctx, "shop"); err != nil {
		t.Fatal(err)
	}
	back := shop
	back.Site, back.Target = "west", ""
	if _, err := s.Protect(ctx, back); err != nil {
		t.Fatal(err)
	}
	s.west.WriteDisk(dr.DiskID{Machine: "db", Disk: "data"}, 8192, []byte("written at west"))
	if _, err := s.Sync(ctx, "shop"); err != nil {
		t.Fatal(err)
	}
	points, err := s.Points(ctx, "shop")
	if err != nil || len(points) == 0 || points[len(points)-1].Position.Epoch != 2 {
		t.Errorf("points after a cycle at west: %+v, %v", points, err)
	}
	if st := status(t, s); st.Group.Site != "west" || !st.RPOMet {
		t.Errorf("status: %+v", st)
	}
}

// TestDisabledGroupBeginsAnew protects a group whose removal came to its first step only.
func TestDisabledGroupBeginsAnew(t *testing.T) {
	s := setUp(t)
	ctx := t.Context()
	addMachine(t, s.east, "db")
	if _, err := s.Protect(ctx, shop); err != nil {
		t.Fatal(err)
	}
	if _, err := s.recovery.Apply(ctx, "shop", dr.OpDisable); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Protect(ctx, shop); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Sync(ctx, "shop"); err != nil {
		t.Fatal(err)
	}
	if _, err := s.recovery.Apply(ctx, "shop", dr.OpDisable); err != nil {
		t.Fatal(err)
	}
	if err := s.Unprotect(ctx, "shop"); err != nil {
		t.Errorf("forget a disabled group: %v", err)
	}
}
