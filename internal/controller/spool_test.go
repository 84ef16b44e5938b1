package controller

import (
	"sync/atomic"
	"testing"
	"time"

	"understudy/internal/dr"
	"understudy/internal/registry"
	"understudy/internal/store"
	"understudy/internal/vault/blob"
	"understudy/internal/vault/blob/faulty"
	"understudy/test/need"
)

// TestOutageOfTheVault takes the vault away while a group is replicated, also from a controller that begins then.
func TestOutageOfTheVault(t *testing.T) {
	s := setUp(t)
	s.end()
	var away atomic.Bool
	var stores []*faulty.Store
	s.cfg.Spool = func(string) int64 { return 1 << 30 }
	s.cfg.OpenStore = func(url string, create bool) (blob.Store, error) {
		if away.Load() {
			return nil, dr.WithHint(faulty.ErrInjected, dr.KindUnavailable, "it is away")
		}
		inner, err := registry.Blob(url, create)
		store := faulty.New(inner)
		stores = append(stores, store)
		return store, err
	}
	open(t, s)
	outage(t, s, func() {
		away.Store(true)
		for _, store := range stores {
			store.Plan(faulty.Fault{Times: -1})
		}
	}, func() { away.Store(false) })
}

// TestOutageOfS3 ends a real server and starts it again.
func TestOutageOfS3(t *testing.T) {
	server := need.S3(t)
	t.Setenv("AWS_ACCESS_KEY_ID", server.User)
	t.Setenv("AWS_SECRET_ACCESS_KEY", server.Secret)
	s := setUp(t)
	if err := s.RemoveVault(t.Context(), "main"); err != nil {
		t.Fatal(err)
	}
	v := store.Vault{Name: "main", URL: "s3://vaults/shop?region=us-east-1&endpoint=http://" + server.Address}
	if _, _, _, err := s.AddVault(t.Context(), v, nil); err != nil {
		t.Fatal(err)
	}
	outage(t, s, func() { server.Stop(t) }, func() { server.Start(t) })
}

// outage protects a group, takes its vault away, and brings it back. The controller is started again in the outage, and
// at its end.
func outage(t *testing.T, s *stage, takeAway, bringBack func()) {
	addMachine(t, s.east, "db")
	if _, err := s.Protect(t.Context(), shop); err != nil {
		t.Fatal(err)
	}
	change := func() { s.east.WriteDisk(dr.DiskID{Machine: "db", Disk: "data"}, 8192, []byte(time.Now().String())) }
	eventually(t, "a delta in the vault", func() bool {
		change()
		return status(t, s).LastCycle.Kind == "delta"
	})
	before := status(t, s)

	began := time.Now()
	takeAway()
	spooled := func(n int) func() bool {
		return func() bool {
			change()
			return status(t, s).Spool.Points >= n
		}
	}
	eventually(t, "captures that wait", spooled(2))
	s.end()
	open(t, s)
	eventually(t, "captures that wait after a restart in the outage", spooled(4))
	st := status(t, s)
	if st.KnownGood.After(began) || st.LastPoint == "" || st.KnownGood.Before(before.KnownGood) || st.Lose < time.Since(began)-time.Second {
		t.Errorf("known good %s (%s), lose %s; the outage began at %s", st.KnownGood, st.LastPoint, st.Lose, began)
	}
	if st.Warning == "" || st.WarningHint == "" || st.Spool.Away.Since.IsZero() {
		t.Errorf("%q, %q, %+v", st.Warning, st.WarningHint, st.Spool)
	}

	s.end()
	bringBack()
	open(t, s)
	eventually(t, "all of it in the vault", func() bool {
		st := status(t, s)
		return st.Spool.Points == 0 && st.KnownGood.After(began) && st.LastCycle.Kind != ""
	})
	points, err := s.Points(t.Context(), "shop")
	if err != nil || len(points) < 6 {
		t.Errorf("%d points, %v", len(points), err)
	}
	if st := status(t, s); st.Failures != 0 || st.Error != "" {
		t.Errorf("%s (%d failures)", st.Error, st.Failures)
	}
}
