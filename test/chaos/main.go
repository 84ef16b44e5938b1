// Command chaos lets real controllers carry out random life-cycle operations on two sites in memory while they are
// killed and stopped, their sites and the store of their vault fail, and the clock jumps. After each operation
// everything is mended and must come to rest; then it is checked that no machine runs at two sites, that what was
// acknowledged is recovered, bit for bit, that nothing is left behind, and that the controller tells the truth.
//
//	go run ./test/chaos -seed 7 -operations 200
//
// What goes wrong is chosen from the seed. A violation is reported with the operations that led to it, which -replay
// carries out again, and which -shrink makes fewer.
package main

import (
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"maps"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"time"
)

func main() {
	if settings := os.Getenv(childEnv); settings != "" {
		if err := child(settings); err != nil {
			fmt.Fprintln(os.Stderr, "controller:", err)
			os.Exit(1)
		}
		return
	}
	var o options
	flag.Uint64Var(&o.seed, "seed", uint64(time.Now().UnixNano()), "what goes wrong follows from it")
	flag.IntVar(&o.operations, "operations", 200, "how many operations")
	flag.IntVar(&o.episode, "episode", 40, "operations on one world, before a new one begins")
	flag.BoolVar(&o.quiet, "quiet", false, "print the result only")
	flag.BoolVar(&o.shrink, "shrink", false, "look for fewer operations that violate something as well")
	flag.BoolVar(&o.goOn, "go-on", false, "begin another world after a violation")
	flag.StringVar(&o.log, "log", "", "where the operations that led to a violation are written; a temporary file when empty")
	replay := flag.String("replay", "", "carry out the operations of a file")
	flag.Parse()
	if *replay != "" {
		data, err := os.ReadFile(*replay)
		if err == nil {
			err = json.Unmarshal(data, &o.script)
		}
		if err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(2)
		}
	}
	ok, err := chaos(os.Stdout, o)
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
	}
	if err != nil || !ok {
		os.Exit(1)
	}
}

type options struct {
	seed                uint64
	operations, episode int
	quiet, shrink, goOn bool
	log                 string
	script              *script
}

// A script is what led to a violation.
type script struct {
	Seed  uint64 `json:"seed"`
	Steps []Step `json:"steps"`
}

func newRandom(seed uint64) *rand.Rand { return rand.New(rand.NewPCG(seed, 0)) }

// chaos runs episodes and reports.
func chaos(out io.Writer, o options) (ok bool, err error) {
	say := out
	if o.quiet {
		say = io.Discard
	}
	began := time.Now()
	total := episode{met: map[Effect]int{}, runs: map[string]int{}}
	operations, worlds, violations := 0, 0, 0
	var bad *episode
	for n := uint64(0); operations < o.operations; n++ {
		seed, steps, list := o.seed+n, min(o.episode, o.operations-operations), []Step(nil)
		if o.script != nil {
			seed, steps, list = o.script.Seed, len(o.script.Steps), o.script.Steps
		}
		fmt.Fprintf(say, "world of seed %d\n", seed)
		e, err := episodeIn(seed, steps, list, say)
		if err != nil {
			return false, fmt.Errorf("seed %d: %w", seed, err)
		}
		worlds++
		operations += len(e.steps)
		total.add(e)
		if len(e.violations) > 0 {
			violations += len(e.violations)
			bad = &e
			fmt.Fprintf(out, "seed %d, operation %d: VIOLATION: %s\n", seed, len(e.steps), e.violations[0])
			if !o.goOn || worlds > 20 && worlds < 2*violations {
				break
			}
		}
		if o.script != nil {
			break
		}
	}
	fmt.Fprintf(out, "chaos: %d operations in %d worlds, %.0f s, seed %d\n", operations, worlds, time.Since(began).Seconds(), o.seed)
	fmt.Fprintf(out, "  runs: %s\n", counts(total.runs))
	fmt.Fprintf(out, "  faults injected: %d: %s\n", total.faults, counts(total.met))
	fmt.Fprintf(out, "  writes acknowledged: %d; recovered contents compared: %d\n", total.acked, total.compared)
	if bad == nil {
		fmt.Fprintln(out, "  violations: 0")
		return true, nil
	}
	fmt.Fprintf(out, "  violations: %d\n", violations)
	for _, v := range bad.violations {
		fmt.Fprintln(out, "  VIOLATION:", v)
	}
	if o.shrink {
		shrink(out, bad)
	}
	if err := report(out, o.log, bad); err != nil {
		return false, err
	}
	return false, nil
}

// episodeIn runs an episode in a folder of its own, whose path is short: sockets live in it.
func episodeIn(seed uint64, steps int, list []Step, say io.Writer) (episode, error) {
	dir, err := os.MkdirTemp("", "us-chaos-")
	if err != nil {
		return episode{}, err
	}
	return runEpisode(dir, seed, steps, list, say)
}

func (e *episode) add(f episode) {
	e.faults += f.faults
	e.acked += f.acked
	e.compared += f.compared
	for k, n := range f.met {
		e.met[k] += n
	}
	for k, n := range f.runs {
		e.runs[k] += n
	}
}

func counts[K ~string](m map[K]int) string {
	text := ""
	for i, k := range slices.Sorted(maps.Keys(m)) {
		if i > 0 {
			text += ", "
		}
		text += fmt.Sprintf("%s %d", k, m[k])
	}
	return text
}

// report writes what led to a violation where it can be carried out again.
func report(out io.Writer, file string, e *episode) error {
	fmt.Fprintln(out, "operations:")
	for _, line := range e.outcomes {
		fmt.Fprintln(out, line)
	}
	if file == "" {
		file = filepath.Join(os.TempDir(), fmt.Sprintf("understudy-chaos-%d.json", e.seed))
	}
	data, err := json.MarshalIndent(script{e.seed, e.steps}, "", " ")
	if err == nil {
		err = os.WriteFile(file, append(data, '\n'), 0o600)
	}
	if err != nil {
		return err
	}
	file, err = filepath.Abs(file)
	fmt.Fprintf(out, "repeat: go run ./test/chaos -replay %s\n", file)
	return err
}

// shrink leaves out operations as long as something is still violated.
func shrink(out io.Writer, e *episode) {
	try := func(steps []Step) bool {
		f, err := episodeIn(e.seed, len(steps), steps, io.Discard)
		if err != nil || len(f.violations) == 0 {
			return false
		}
		*e = f
		fmt.Fprintf(out, "shrunk to %d operations\n", len(e.steps))
		return true
	}
	for i := 0; i < len(e.steps)-1; {
		if !try(slices.Delete(slices.Clone(e.steps), i, i+1)) {
			i++
		}
	}
}
