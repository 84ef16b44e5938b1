package azure_test

import (
	"bytes"
	"image/png"
	"net/http"
	"strings"
	"testing"

	"understudy/internal/dr"
	"understudy/internal/site"
	"understudy/test/azsim/sim"
)

// TestDiagnostics: a machine that was made here shows its screen and its console; one that has boot diagnostics off says
// how to switch them on.
func TestDiagnostics(t *testing.T) {
	s := start(t, sim.Options{})
	d := open(t, s, sim.ShopWest, t.TempDir())
	q := site.ProvisionRequest{Owner: "run-1", Sources: map[string]string{"os": source(t, make([]byte, 1<<20))},
		Machine: dr.Machine{Name: "new", CPUs: 2, MemoryMiB: 2048, Disks: []dr.Disk{{Name: "os", Size: 1 << 20}}}}
	if err := d.Provision(t.Context(), q); err != nil {
		t.Fatal(err)
	}
	if text, err := d.Console(t.Context(), "new", 100); err != nil || len(text) != 0 {
		t.Errorf("console of one that never ran: %q %v", text, err)
	}
	if err := d.Power(t.Context(), "new", site.PowerStart); err != nil {
		t.Fatal(err)
	}
	text, err := d.Console(t.Context(), "new", 1000)
	if err != nil || !strings.Contains(string(text), "new login:") {
		t.Errorf("console: %q %v", text, err)
	}
	screen, err := d.Screenshot(t.Context(), "new")
	if err != nil {
		t.Fatal(err)
	}
	picture, err := png.Decode(bytes.NewReader(screen))
	if err != nil {
		t.Fatal(err)
	}
	if r, _, _, _ := picture.At(10+2, 24).RGBA(); r>>8 != 170 || picture.Bounds().Dx() != 320 {
		t.Errorf("red is %d of %v", r>>8, picture.Bounds())
	}
	// The store may fail where Resource Manager does not.
	broken := true
	s.Serve(func(w http.ResponseWriter, r *http.Request) bool {
		if broken && strings.HasPrefix(r.URL.Path, "/_console/") {
			w.WriteHeader(http.StatusForbidden)
			return true
		}
		return false
	})
	if _, err := d.Screenshot(t.Context(), "new"); dr.KindOf(err) != dr.KindUnavailable || dr.Hint(err) == "" {
		t.Errorf("a store that refuses: %v", err)
	}
	broken = false
	if _, err := s.Machine(sim.Machine{Place: sim.ShopWest, Name: "silent", Disks: []int{1}, Quiet: true}); err != nil {
		t.Fatal(err)
	}
	for what, err := range map[string]error{"console": second(d.Console(t.Context(), "silent", 10)), "screen": second(d.Screenshot(t.Context(), "silent"))} {
		if dr.KindOf(err) != dr.KindInvalid || !strings.Contains(dr.Hint(err), "boot-diagnostics enable") {
			t.Errorf("%s without boot diagnostics: %v (%s)", what, err, dr.Hint(err))
		}
	}
}

func second[T any](_ T, err error) error { return err }
