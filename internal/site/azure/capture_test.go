package azure_test

import (
	"sync/atomic"
	"testing"
	"time"

	"understudy/internal/site"
	"understudy/test/azsim/sim"
)

// TestSkew: a capture says how far its snapshots are apart, by the times that Azure gives them.
func TestSkew(t *testing.T) {
	var ticks atomic.Int64
	began := time.Now()
	s := start(t, sim.Options{Now: func() time.Time { return began.Add(time.Duration(ticks.Add(1)) * time.Millisecond) }})
	d := open(t, s, sim.ShopEast, t.TempDir())
	for machine, apart := range map[string]bool{"shop-db": true, "shop-web": false} { // two disks, and one
		before := ticks.Load()
		c, err := d.Capture(t.Context(), site.CaptureRequest{Group: machine, Machines: []string{machine}, ID: "one"})
		if err != nil {
			t.Fatal(err)
		}
		most := time.Duration(ticks.Load()-before) * time.Millisecond
		if skew := c.(site.Skewed).Skew(); (skew > 0) != apart || skew > most {
			t.Errorf("%s: %s apart, and the capture took %s", machine, skew, most)
		}
		if err := c.Abort(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
}
