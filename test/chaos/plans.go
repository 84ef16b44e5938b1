package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"understudy/internal/api/client"
	"understudy/internal/api/wire"
	"understudy/internal/dr"
)

// planned is the group that has a recovery plan, and the plan's name.
const planned = "shop"

// planText is a plan whose scripts note when they begin and end, in a file of the world. They take a while, so that the
// controller is sometimes killed in them.
func (w *world) planText() string {
	script := fmt.Sprintf(`'note() { echo "$1 $UNDERSTUDY_RUN $UNDERSTUDY_ACTION $UNDERSTUDY_ATTEMPT" >> %s; }; note begin; sleep 0.05; note end'`, w.notes())
	return strings.NewReplacer("SCRIPT", script).Replace(`name: shop
group: shop
before:
  - {name: announce, onError: ask, script: {text: SCRIPT}}
  - {name: allow, approval: {message: "go?"}, when: {kinds: [planned]}}
stages:
  - name: data
    machines: [db]
    after:
      - {name: rows, onError: continue, guest: {machine: db, command: [rows]}}
      - {name: again, repeatable: true, retries: 2, backoff: 50ms, script: {text: SCRIPT}}
  - name: front
    before:
      - {name: once, onError: continue, script: {text: SCRIPT}}
    machines: [web]
after:
  - {name: report, onError: ask, script: {text: SCRIPT}}
`)
}

// notes is the file that the plan's scripts write to.
func (w *world) notes() string { return filepath.Join(w.dir, "notes") }

// planOf is the plan that a step's run carries out, or none.
func (s Step) planOf(g *group) string {
	if g.name == planned && s.Pick&1 == 1 {
		return planned
	}
	return ""
}

// retryKey names an action of a run.
type retryKey struct{ run, action string }

// answer answers what a run asks, when it does: a person who mostly agrees.
func (w *world) answer(ctx context.Context, c *client.Client, run string, agree bool) error {
	q, err := c.RunQuestion(ctx, run)
	if dr.KindOf(err) == dr.KindNotFound || dr.KindOf(err) == dr.KindConflict {
		return nil
	}
	if err != nil {
		return err
	}
	w.mu.Lock()
	yes := agree || w.random.IntN(5) > 0
	w.mu.Unlock()
	a := wire.Answer{Answer: q.Answers[0], Note: "chaos"}
	if !yes {
		a.Answer = q.Answers[1]
	}
	if a.Answer == "retry" {
		w.retries[retryKey{run, q.Action}]++
	}
	_, err = c.AnswerRun(ctx, run, a)
	if kind := dr.KindOf(err); kind == dr.KindConflict {
		return nil // the run has ended, or was answered before the controller died
	}
	return err
}

// checkNotes looks for actions that were done more often than they may be, or that are said to be done and were not.
func (w *world) checkNotes(runs []wire.Run) {
	data, err := os.ReadFile(w.notes())
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		w.violate("read notes: %v", err)
	}
	begun, ended, attempts := map[retryKey]int{}, map[retryKey]int{}, map[string]int{}
	for line := range strings.Lines(string(data)) {
		f := strings.Fields(line)
		if len(f) != 4 {
			w.violate("a script wrote %q", line)
			continue
		}
		k := retryKey{f[1], f[2]}
		switch f[0] {
		case "begin":
			begun[k]++
			if attempts[line]++; attempts[line] > 1 {
				w.violate("action %s of run %s: attempt %s was begun twice", f[2], f[1], f[3])
			}
		case "end":
			ended[k]++
		}
	}
	for k, n := range begun {
		if k.action != "again" && n > 1+w.retries[k] {
			w.violate("action %s of run %s was done %d times; it is not repeatable and was retried %d times", k.action, k.run, n, w.retries[k])
		}
	}
	for _, run := range runs {
		var res struct {
			Actions []struct{ Name, Kind, Outcome string }
		}
		data, err := json.Marshal(run.Result)
		if err == nil {
			err = json.Unmarshal(data, &res)
		}
		if err != nil {
			w.violate("result of run %s: %v", run.ID, err)
		}
		for _, a := range res.Actions {
			if a.Kind == "script" && a.Outcome == "done" && ended[retryKey{run.ID, a.Name}] == 0 {
				w.violate("action %s of run %s is said to be done, and never came to its end", a.Name, run.ID)
			}
		}
	}
}
