package extension

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"understudy/internal/dr"
	"understudy/internal/site"
)

// A Call is what a handler gets as JSON on its standard input.
type Call struct {
	Extension string            `json:"extension"`
	Version   string            `json:"version"`
	Machine   string            `json:"machine"` // its name at the site
	Site      string            `json:"site"`
	Settings  map[string]string `json:"settings,omitempty"`
	Protected map[string]string `json:"protected,omitempty"` // the values; for install only
	Collector *CallCollector    `json:"collector,omitempty"` // for install only, when heartbeats go to a collector
}

// CallCollector is where the extension sends its heartbeats, and as whom.
type CallCollector struct {
	Endpoint     string `json:"endpoint"`     // URL as the guest reaches it
	Registration string `json:"registration"` // ID, to be told by detect
	Token        string `json:"token"`        // to be shown with every heartbeat
}

// Detected is the answer of a detect handler.
type Detected struct {
	Installed    bool              `json:"installed"`
	Version      string            `json:"version,omitempty"`
	Settings     map[string]string `json:"settings,omitempty"`     // without secrets
	Registration string            `json:"registration,omitempty"` // the one that it was installed with
}

// Said is the answer of a status handler: what the extension says of itself, which is no proof.
type Said struct {
	Status  string `json:"status"` // running, or anything else with a message
	Message string `json:"message,omitempty"`
}

const saidRunning = "running"

// maxOutput bounds what of a handler's output goes into an error, in bytes.
const maxOutput = 400

// run runs a handler in a machine and returns its standard output.
func (j job) run(ctx context.Context, what string, argv []string, call Call) ([]byte, error) {
	fail := func(err error) error {
		return fmt.Errorf("%s %s on %s: %w", what, j.entry.Name, j.machine, err)
	}
	input, err := json.Marshal(call)
	if err != nil {
		return nil, fail(err)
	}
	timeout := j.handlers.timeout()
	ctx, cancel := context.WithTimeoutCause(ctx, timeout, fmt.Errorf("the handler did not end in %s", timeout))
	defer cancel()
	res, err := j.commands.Command(ctx, j.machine, site.Command{Argv: argv, Stdin: input})
	if err != nil {
		if cause := context.Cause(ctx); cause != nil && errors.Is(err, context.DeadlineExceeded) {
			err = cause
		}
		return nil, fail(dr.WithHint(errors.New(redact(err.Error(), call)), dr.KindOf(err), dr.Hint(err)))
	}
	if res.ExitCode != 0 {
		said := bytes.TrimSpace(res.Stderr)
		if len(said) == 0 {
			said = bytes.TrimSpace(res.Stdout)
		}
		text := fmt.Sprintf("the handler ended with %d", res.ExitCode)
		if said := redact(string(said), call); said != "" { // before it is cut: half a secret is still one
			text += ": " + strings.ToValidUTF8(said[max(0, len(said)-maxOutput):], "")
		}
		return nil, fail(dr.WithHint(errors.New(text), dr.KindUnavailable,
			"run it in the guest to see what it needs: "+strings.Join(argv, " ")))
	}
	return res.Stdout, nil
}

// redact takes the secrets of a call out of a text that people will read.
func redact(text string, call Call) string {
	secrets := []string{}
	for _, v := range call.Protected {
		secrets = append(secrets, v)
	}
	if call.Collector != nil {
		secrets = append(secrets, call.Collector.Token)
	}
	for _, s := range slices.Clone(secrets) { // handlers are told them as JSON, and may say what they were told
		if data, err := json.Marshal(s); err == nil {
			secrets = append(secrets, string(data[1:len(data)-1]))
		}
	}
	// The longest first: one may hold another.
	slices.SortFunc(secrets, func(a, b string) int { return len(b) - len(a) })
	for _, s := range secrets {
		if s != "" {
			text = strings.ReplaceAll(text, s, "***")
		}
	}
	return text
}

func (j job) call() Call {
	return Call{Extension: j.entry.Name, Version: j.entry.Version, Machine: j.machine, Site: j.site.Name}
}

func (j job) detect(ctx context.Context) (d Detected, err error) {
	return d, j.ask(ctx, "detect", j.handlers.Detect, &d)
}

func (j job) status(ctx context.Context) (s Said, err error) {
	return s, j.ask(ctx, "ask", j.handlers.Status, &s)
}

func (j job) ask(ctx context.Context, what string, argv []string, answer any) error {
	out, err := j.run(ctx, what, argv, j.call())
	if err != nil {
		return err
	}
	if err := json.Unmarshal(out, answer); err != nil {
		return fmt.Errorf("%s %s on %s: the handler's answer is no JSON: %w", what, j.entry.Name, j.machine, err)
	}
	return nil
}

func (j job) remove(ctx context.Context) error {
	_, err := j.run(ctx, "remove", j.handlers.Remove, j.call())
	return err
}

// install installs with the wanted settings over the entry's.
func (j job) install(ctx context.Context, c *CallCollector) error {
	call := j.call()
	call.Collector = c
	call.Settings = map[string]string{}
	for _, from := range []map[string]string{j.entry.Settings, j.want.Settings} {
		for k, v := range from {
			if _, secret := j.entry.Protected[k]; !secret {
				call.Settings[k] = v
			}
		}
	}
	call.Protected = map[string]string{}
	for k, ref := range j.entry.Protected {
		v, err := Secret(ref)
		if err != nil {
			return dr.WithHint(fmt.Errorf("install %s on %s: setting %s (%s): %w", j.entry.Name, j.machine, k, ref, err), dr.KindOf(err), dr.Hint(err))
		}
		call.Protected[k] = v
	}
	_, err := j.run(ctx, "install", j.handlers.Install, call)
	return err
}

// sleep waits, or returns why ctx ended.
func sleep(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}
