// Command bench measures Understudy beside named peers on the same machine in the same run. It prints a table and
// writes test/bench/results/latest.json. Every figure is a median of interleaved runs, every verdict a ratio: absolute
// times on a shared machine say little.
package main

import (
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"slices"
	"strings"
	"text/tabwriter"
	"time"
)

// A result is one row of the table.
type result struct {
	Name    string  `json:"name"`
	Value   float64 `json:"value"`
	Unit    string  `json:"unit"`
	Against string  `json:"against"`
	Ratio   float64 `json:"ratio"`
	Target  string  `json:"target"`
	OK      bool    `json:"ok"`
}

// bench is the setting in which all measures run.
type bench struct {
	bin     string // the understudy program
	cache   string // inputs that are kept between runs
	dir     string // scratch, removed at the end
	guest   string // folder with vmlinuz and initrd.gz
	runs    int
	sizeGiB int64
	results []result
}

// measures are the parts of the bench, in order.
var measures = []struct {
	name string
	run  func(context.Context, *bench) error
}{
	{"seed", seed},
	{"delta", delta},
	{"restore", restore},
	{"unchanged", unchanged},
	{"boot", boot},
	{"memory", memory},
	{"azure-pages", azurePages},
	{"azure-cycle", azureCycle},
	{"azure-inventory", azureInventory},
	{"api", apiLatency},
	{"console", smooth},
}

func main() {
	b := &bench{}
	only := flag.String("only", "", "comma-separated measures to run, by their names or the first word of them (default all)")
	flag.StringVar(&b.bin, "bin", "bin/understudy", "the understudy program")
	flag.StringVar(&b.cache, "cache", ".cache/bench", "folder for inputs that are kept")
	flag.StringVar(&b.guest, "guest", os.Getenv("UNDERSTUDY_GUEST_DIR"), "folder with the guest's vmlinuz and initrd.gz")
	flag.IntVar(&b.runs, "runs", 3, "runs of each command; the median counts")
	flag.Int64Var(&b.sizeGiB, "size", 4, "size of the seeded disk in GiB; half of it is filled")
	out := flag.String("out", "test/bench/results/latest.json", "where the figures are written")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	if err := b.run(ctx, *only, *out); err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

func (b *bench) run(ctx context.Context, only, out string) (err error) {
	for _, p := range []*string{&b.bin, &b.cache} {
		if *p, err = filepath.Abs(*p); err != nil {
			return err
		}
	}
	if err := os.MkdirAll(b.cache, 0o755); err != nil {
		return err
	}
	if b.dir, err = os.MkdirTemp(b.cache, "run-"); err != nil {
		return err
	}
	defer os.RemoveAll(b.dir)
	for _, m := range measures {
		if only != "" && !slices.ContainsFunc(strings.Split(only, ","), func(want string) bool {
			return m.name == want || strings.HasPrefix(m.name, want+"-")
		}) {
			continue
		}
		began := time.Now()
		fmt.Fprintf(os.Stderr, "bench: %s ...\n", m.name)
		if err := m.run(ctx, b); err != nil {
			return fmt.Errorf("%s: %w", m.name, err)
		}
		fmt.Fprintf(os.Stderr, "bench: %s took %.0f s\n", m.name, time.Since(began).Seconds())
	}
	b.print()
	return b.write(out)
}

// add records a figure. Without a ratio the verdict is on the value alone.
func (b *bench) add(r result) { b.results = append(b.results, r) }

func (b *bench) print() {
	w := tabwriter.NewWriter(os.Stdout, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "MEASURE\tVALUE\tUNIT\tAGAINST\tRATIO\tTARGET\tOK")
	for _, r := range b.results {
		ratio, ok := "-", "yes"
		if r.Ratio != 0 {
			ratio = fmt.Sprintf("%.2f", r.Ratio)
		}
		if !r.OK {
			ok = "NO"
		}
		fmt.Fprintf(w, "%s\t%.2f\t%s\t%s\t%s\t%s\t%s\n", r.Name, r.Value, r.Unit, r.Against, ratio, r.Target, ok)
	}
	w.Flush()
}

func (b *bench) write(out string) error {
	data, err := json.MarshalIndent(map[string]any{"results": b.results}, "", "  ")
	if err != nil {
		return err
	}
	if err := os.MkdirAll(filepath.Dir(out), 0o755); err != nil {
		return err
	}
	return os.WriteFile(out, append(data, '\n'), 0o644)
}
