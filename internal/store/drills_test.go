package store_test

import (
	"fmt"
	"path/filepath"
	"testing"
	"time"

	"understudy/internal/dr"
	"understudy/internal/store"
)

func TestDrillSchedules(t *testing.T) {
	path, ctx := filepath.Join(t.TempDir(), "state.db"), t.Context()
	s := configured(t, path)
	at := time.Date(2026, 11, 16, 3, 0, 0, 0, time.UTC)
	want := store.DrillSchedule{Group: "shop", Cron: "0 3 * * 1", Zone: "Europe/Paris", Window: time.Hour, Since: at, Next: at}
	must(t, s.PutDrillSchedule(ctx, want))
	wantKind(t, s.PutDrillSchedule(ctx, store.DrillSchedule{Group: "none"}), dr.KindNotFound, "no group")
	must(t, s.Close())
	s = open(t, path)
	if got, ok, err := s.DrillSchedule(ctx, "shop"); err != nil || !ok || got != want {
		t.Fatalf("%+v %v %v", got, ok, err)
	}
	if _, ok, err := s.DrillSchedule(ctx, "none"); ok || err != nil {
		t.Errorf("%v %v", ok, err)
	}
	got, err := s.ChangeDrillSchedule(ctx, "shop", func(d *store.DrillSchedule) error { d.LastRun = "r1"; return nil })
	if err != nil || got.LastRun != "r1" {
		t.Errorf("%+v %v", got, err)
	}
	_, err = s.ChangeDrillSchedule(ctx, "none", func(*store.DrillSchedule) error { return nil })
	wantKind(t, err, dr.KindNotFound, "none")
	must(t, s.DeleteDrillSchedule(ctx, "shop"))
	wantKind(t, s.DeleteDrillSchedule(ctx, "shop"), dr.KindNotFound, "no drill schedule")

	// A schedule goes with its group.
	must(t, s.PutDrillSchedule(ctx, want))
	must(t, s.DeleteGroup(ctx, "shop"))
	if list, err := s.DrillSchedules(ctx); err != nil || len(list) != 0 {
		t.Errorf("%+v %v", list, err)
	}
}

func TestRunsBeyond(t *testing.T) {
	s, ctx := configured(t, filepath.Join(t.TempDir(), "state.db")), t.Context()
	for i := range 6 {
		kind := "drill"
		if i == 3 {
			kind = "failover"
		}
		at := time.Unix(int64(i+1), 0)
		must(t, s.CreateRun(ctx, store.Run{ID: fmt.Sprint("r", i), Kind: kind, Group: "shop", State: store.RunSucceeded, Requested: at, Ended: at},
			func(*store.Protection) error { return nil }))
	}
	if got, err := s.RunsBeyond(ctx, "shop", "drill", 2); err != nil || fmt.Sprint(got) != "[r2 r1 r0]" {
		t.Errorf("%v %v", got, err)
	}
}
