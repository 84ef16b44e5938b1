package azure_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"understudy/internal/dr"
	"understudy/internal/site"
	"understudy/test/azsim/sim"
)

// TestInventoryPages lists more machines than one answer holds.
func TestInventoryPages(t *testing.T) {
	const machines = 230
	s := start(t, sim.Options{})
	place := sim.Place{Group: "fleet", Region: sim.ShopEast.Region, Prefix: "10.9"}
	if err := s.Place(place); err != nil {
		t.Fatal(err)
	}
	for i := range machines {
		if _, err := s.Machine(sim.Machine{Name: fmt.Sprintf("m%03d", i), Place: place, Disks: []int{1}}); err != nil {
			t.Fatal(err)
		}
	}
	d := open(t, s, place, t.TempDir())
	s.Calls()
	list, err := d.Machines(t.Context())
	if err != nil || len(list) != machines || list[machines-1].Name != "m229" || len(list[0].Disks) != 1 || len(list[0].NICs) != 1 {
		t.Fatalf("%d machines: %v", len(list), err)
	}
	calls := 0
	for _, n := range s.Calls() {
		calls += n
	}
	if calls != 9 {
		t.Errorf("%d calls for three lists of three pages", calls)
	}
}

// TestInventoryTrouble lists machines while Resource Manager has trouble.
func TestInventoryTrouble(t *testing.T) {
	for name, tt := range map[string]struct {
		fault sim.Fault
		kind  dr.Kind // empty: it succeeds all the same
		text  string
	}{
		"throttled":    {sim.Fault{Times: 2, Status: http.StatusTooManyRequests, Code: "TooManyRequests", RetryAfter: time.Millisecond}, "", ""},
		"lost answer":  {sim.Fault{Times: 1, Lose: true}, "", ""},
		"second fails": {sim.Fault{Skip: 1, Status: http.StatusForbidden, Code: "AuthorizationFailed"}, dr.KindInvalid, "AuthorizationFailed"},
		"never lets in": {sim.Fault{Status: http.StatusTooManyRequests, Code: "TooManyRequests", RetryAfter: time.Millisecond}, dr.KindUnavailable,
			"TooManyRequests"},
	} {
		t.Run(name, func(t *testing.T) {
			s := start(t, sim.Options{})
			d := open(t, s, sim.ShopEast, t.TempDir())
			met := 0
			tt.fault.Path, tt.fault.Do = "/(virtualMachines|disks)$", func() { met++ }
			s.Fault(tt.fault)
			list, err := d.Machines(t.Context())
			if met == 0 {
				t.Fatal("the fault was not met")
			}
			if tt.kind == "" && (err != nil || len(list) != 2) {
				t.Errorf("%d machines: %v", len(list), err)
			}
			if tt.kind != "" && (dr.KindOf(err) != tt.kind || dr.Hint(err) == "" || !strings.Contains(err.Error(), tt.text)) {
				t.Errorf("%v, hint %q", err, dr.Hint(err))
			}
		})
	}
}

// TestSlowAnswer gives up when the caller does.
func TestSlowAnswer(t *testing.T) {
	s := start(t, sim.Options{})
	d := open(t, s, sim.ShopEast, t.TempDir())
	ctx, cancel := context.WithCancel(t.Context())
	s.Fault(sim.Fault{Path: "/virtualMachines$", Slow: time.Hour, Do: cancel})
	if _, err := d.Machines(ctx); !errors.Is(err, context.Canceled) {
		t.Errorf("%v", err)
	}
}

func TestRegionDown(t *testing.T) {
	s := start(t, sim.Options{RetryAfter: time.Millisecond})
	d := open(t, s, sim.ShopEast, t.TempDir())
	s.SetDown(sim.ShopEast.Region, true)
	if _, err := d.Machines(t.Context()); dr.KindOf(err) != dr.KindUnavailable || dr.Hint(err) == "" {
		t.Errorf("%v, hint %q", err, dr.Hint(err))
	}
	s.SetDown(sim.ShopEast.Region, false)
	if list, err := d.Machines(t.Context()); err != nil || len(list) != 2 {
		t.Errorf("afterwards: %d machines, %v", len(list), err)
	}
}

// TestOldAPI meets a cloud, such as an Azure Stack Hub, that has only older versions of the API.
func TestOldAPI(t *testing.T) {
	s := start(t, sim.Options{Versions: map[string][]string{"microsoft.compute": {"2020-06-01", "2019-07-01"}}})
	d := open(t, s, sim.ShopEast, t.TempDir())
	if _, err := d.Machines(t.Context()); dr.KindOf(err) != dr.KindInvalid || !strings.Contains(fmt.Sprint(err), "The supported api-versions are '2020-06-01, 2019-07-01'") {
		t.Errorf("%v", err)
	}
}

// TestCaptureTrouble captures a group while the third snapshot has trouble.
func TestCaptureTrouble(t *testing.T) {
	for name, tt := range map[string]struct {
		fault sim.Fault
		fails bool
	}{
		"third refused":     {sim.Fault{Skip: 2, Times: 1, Status: http.StatusForbidden, Code: "AuthorizationFailed"}, true},
		"third answer lost": {sim.Fault{Skip: 2, Times: 1, Lose: true}, false},
		"third throttled":   {sim.Fault{Skip: 2, Times: 1, Status: http.StatusTooManyRequests, RetryAfter: time.Millisecond}, false},
	} {
		t.Run(name, func(t *testing.T) {
			s := start(t, sim.Options{Polls: 1})
			d := open(t, s, sim.ShopEast, t.TempDir())
			tt.fault.Method, tt.fault.Path = http.MethodPut, "/snapshots/"
			s.Fault(tt.fault)
			c, err := d.Capture(t.Context(), site.CaptureRequest{Group: "shop", Machines: []string{"shop-db", "shop-web"}, ID: "one"})
			if (err != nil) != tt.fails {
				t.Fatalf("%v", err)
			}
			left := s.IDs("Microsoft.Compute/snapshots")
			if tt.fails && len(left) != 0 {
				t.Errorf("left behind: %v", left)
			}
			if !tt.fails {
				if len(left) != 3 {
					t.Errorf("snapshots: %v", left)
				}
				if err := c.Abort(t.Context()); err != nil {
					t.Error(err)
				}
			}
		})
	}
}
