package azure_test

import (
	"context"
	"errors"
	"net/http"
	"testing"
	"time"

	"understudy/internal/dr"
	"understudy/internal/site"
	"understudy/test/azsim/sim"
)

// TestPatience: a site that is told of too many requests, more often than the client itself tries again, waits as it is
// asked to, also with a body to send and while it looks at an operation; and no longer than its caller.
func TestPatience(t *testing.T) {
	s := start(t, sim.Options{Polls: 2})
	d := open(t, s, sim.ShopWest, t.TempDir())
	const soon = 2 * time.Millisecond
	for _, f := range []sim.Fault{{Method: http.MethodPut, Path: "/disks/"}, {Method: http.MethodGet, Path: "/operations/"}, {Method: http.MethodGet, Path: "/virtualMachines$"}} {
		f.Times, f.Status, f.Code, f.RetryAfter = 8, http.StatusTooManyRequests, "TooManyRequests", soon
		s.Fault(f)
	}
	m := dr.Machine{Name: "new", CPUs: 2, MemoryMiB: 2048, Disks: []dr.Disk{{Name: "os", Size: 1 << 20}}}
	if err := d.Provision(t.Context(), site.ProvisionRequest{Owner: "run-1", Machine: m, Sources: map[string]string{"os": source(t, make([]byte, 1<<20))}}); err != nil {
		t.Fatal(err)
	}
	if _, err := d.Machines(t.Context()); err != nil {
		t.Fatal(err)
	}
	s.NoFaults()
	s.Fault(sim.Fault{Path: "/virtualMachines$", Status: http.StatusTooManyRequests, Code: "TooManyRequests", RetryAfter: time.Minute})
	ctx, stop := context.WithCancelCause(t.Context())
	enough := errors.New("enough")
	s.Fault(sim.Fault{Path: "/networkInterfaces$", Do: func() { stop(enough) }})
	if _, err := d.Machines(ctx); err == nil {
		t.Error("there was an answer")
	}
}
