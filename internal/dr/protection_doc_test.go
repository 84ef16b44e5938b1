package dr

import (
	"flag"
	"os"
	"testing"
)

var update = flag.Bool("update", false, "write the pages that are printed from the code")

func TestLifeCyclePage(t *testing.T) {
	const page = "../../docs/life-cycle.md"
	if *update {
		if err := os.WriteFile(page, []byte(LifeCycle()), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	have, err := os.ReadFile(page)
	if err != nil || string(have) != LifeCycle() {
		t.Errorf("%s is not what the code says (%v): go test ./internal/dr -run LifeCycle -update", page, err)
	}
	for _, s := range States() {
		if s.means() == "" {
			t.Errorf("%s has no meaning", s)
		}
	}
}
