package azure

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"net"
	"net/http"
	"net/url"
	"strings"
	"time"

	"understudy/internal/dr"
	"understudy/internal/site"
)

// lockName is the lock that keeps a held machine from being started by anybody.
const lockName = "understudy-held"

// Power implements site.Driver. A machine that is off is deallocated: it costs nothing, and its disks can be read.
func (s *Site) Power(ctx context.Context, name string, action site.PowerAction) error {
	defer s.alone(name)()
	fail := func(err error) error { return fmt.Errorf("%s %s: %w", action, name, explain(err)) }
	v, p, err := s.find(ctx, name)
	if err != nil {
		return fail(err)
	}
	switch action {
	case site.PowerStart:
		err = s.start(ctx, name, v, p)
	case site.PowerShutdown, site.PowerKill:
		if v != nil {
			err = s.stop(ctx, v, action == site.PowerKill)
		}
	default:
		err = dr.WithHint(fmt.Errorf("unknown power action %q", action), dr.KindInvalid, "start, shutdown or kill")
	}
	if err != nil {
		return fail(err)
	}
	return nil
}

func (s *Site) start(ctx context.Context, name string, v *vm, p *prepared) error {
	held := ""
	if v != nil {
		held = v.Tags[tagHeld]
	} else {
		held = p.Held
	}
	switch {
	case held != "":
		return dr.WithHint(fmt.Errorf("machine %s is held: %s", name, held), dr.KindFenced, "understudy split-brain resolve, or understudy failback, releases it")
	case v != nil && powers[v.Properties.InstanceView.power()] == dr.PowerOn:
		return nil
	case s.busy(name, ""):
		return dr.WithHint(fmt.Errorf("a disk of %s is in use", name), dr.KindConflict, "wait for the copy that uses it")
	}
	if err := s.finish(ctx, name); err != nil {
		return err
	}
	if v != nil {
		return s.rest.run(ctx, call{http.MethodPost, v.ID + "/start", nil, nil}, nil)
	}
	if _, p, err := s.find(ctx, name); err != nil { // its disks may be others now
		return err
	} else if p != nil {
		return s.first(ctx, name, *p)
	}
	return s.missing(name)
}

// first starts a machine that was prepared: it makes it.
func (s *Site) first(ctx context.Context, name string, p prepared) error {
	if len(p.Body) == 0 {
		return dr.WithHint(errors.New("its preparation did not end"), dr.KindConflict, "resume the run that makes it")
	}
	if err := s.rest.run(ctx, call{http.MethodPut, s.compute("virtualMachines", name), nil, json.RawMessage(p.Body)}, nil); err != nil {
		return err
	}
	return s.remember(name, nil)
}

// stop deallocates a machine; kill pulls the plug first.
func (s *Site) stop(ctx context.Context, v *vm, kill bool) error {
	power := v.Properties.InstanceView.power()
	if power == "deallocated" {
		return nil
	}
	if kill && power != "stopped" {
		if err := s.rest.run(ctx, call{http.MethodPost, v.ID + "/powerOff", url.Values{"skipShutdown": {"true"}}, nil}, nil); err != nil {
			return err
		}
	}
	return s.rest.run(ctx, call{http.MethodPost, v.ID + "/deallocate", nil, nil}, nil)
}

// Fence implements site.Driver: a tag says that the machine is held, and a lock keeps others from starting it.
func (s *Site) Fence(ctx context.Context, name string, hold bool, reason string) error {
	defer s.alone(name)()
	fail := func(err error) error { return fmt.Errorf("hold %s: %w", name, explain(err)) }
	v, p, err := s.find(ctx, name)
	if err != nil {
		return fail(err)
	}
	if v == nil {
		one := *p
		if one.Held = ""; hold {
			one.Held = cmp.Or(reason, "held")
		}
		return s.remember(name, &one)
	}
	if hold && v.Tags[tagHeld] != "" && v.Properties.InstanceView.power() == "deallocated" || !hold && v.Tags[tagHeld] == "" {
		return nil
	}
	if err := s.unlock(ctx, v); err != nil {
		return fail(err)
	}
	tags := maps.Clone(v.Tags)
	if tags == nil {
		tags = map[string]string{}
	}
	if !hold {
		delete(tags, tagHeld)
		return failed(fail, s.rest.run(ctx, call{http.MethodPatch, v.ID, nil, map[string]any{"tags": tags}}, nil))
	}
	tags[tagHeld] = clip(cmp.Or(reason, "held"), 256)
	// The tag comes first: a machine that is being held does not start by our hand even if this process ends here.
	if err := s.rest.run(ctx, call{http.MethodPatch, v.ID, nil, map[string]any{"tags": tags}}, nil); err != nil {
		return fail(err)
	}
	if err := s.stop(ctx, v, true); err != nil {
		return fail(err)
	}
	resp, err := s.rest.send(ctx, call{http.MethodPut, v.ID + "/providers/Microsoft.Authorization/locks/" + lockName, nil,
		map[string]any{"properties": map[string]any{"level": "ReadOnly", "notes": clip(reason, 512)}}})
	if is(err, http.StatusForbidden) {
		s.cfg.Logger.Warn("the identity may set no locks: others can start the held machine", "machine", name)
		return nil
	}
	if err != nil {
		return fail(err)
	}
	return resp.Body.Close()
}

func failed(fail func(error) error, err error) error {
	if err == nil {
		return nil
	}
	return fail(err)
}

// unlock takes our lock away.
func (s *Site) unlock(ctx context.Context, v *vm) error {
	if v.Tags[tagHeld] == "" {
		return nil
	}
	resp, err := s.rest.send(ctx, call{http.MethodDelete, v.ID + "/providers/Microsoft.Authorization/locks/" + lockName, nil, nil})
	if is(err, http.StatusNotFound) || is(err, http.StatusForbidden) {
		return nil
	}
	if err != nil {
		return err
	}
	return resp.Body.Close()
}

// Hydrate implements site.Driver: disks of Azure are whole when a machine starts.
func (s *Site) Hydrate(ctx context.Context, name string, progress func(done, total int64)) error {
	v, p, err := s.find(ctx, name)
	if err != nil {
		return fmt.Errorf("hydrate %s: %w", name, err)
	}
	total := int64(0)
	if v == nil {
		m, err := p.machine()
		if err != nil {
			return err
		}
		for _, d := range m.Disks {
			total += d.Size
		}
	} else {
		for _, d := range v.disks() {
			var one disk
			if err := s.rest.get(ctx, d.ManagedDisk.ID, nil, &one); err != nil {
				return fmt.Errorf("hydrate %s: %w", name, explain(err))
			}
			total += one.size()
		}
	}
	if progress != nil {
		progress(total, total)
	}
	return nil
}

// Probe implements site.Driver.
func (s *Site) Probe(ctx context.Context, name string, p dr.Probe) error {
	for {
		err := s.probe(ctx, name, p)
		if err == nil || p.Kind == dr.ProbeNone || dr.KindOf(err) == dr.KindNotFound || dr.KindOf(err) == dr.KindInvalid {
			return err
		}
		if e := pause(ctx, s.cfg.Poll); e != nil {
			return dr.WithHint(fmt.Errorf("probe %s: %w: %w", name, e, err), dr.KindUnavailable, "see the machine's serial console")
		}
	}
}

func (s *Site) probe(ctx context.Context, name string, p dr.Probe) error {
	v, _, err := s.find(ctx, name)
	if err != nil {
		return fmt.Errorf("probe %s: %w", name, err)
	}
	if v == nil || powers[v.Properties.InstanceView.power()] != dr.PowerOn {
		return dr.WithHint(fmt.Errorf("machine %s does not run", name), dr.KindUnavailable, "start it")
	}
	switch p.Kind {
	case dr.ProbeNone:
		return nil
	case dr.ProbeAgent:
		agent := v.Properties.InstanceView.VMAgent.Statuses
		if len(agent) == 0 || agent[0].Code != "ProvisioningState/succeeded" {
			return dr.WithHint(fmt.Errorf("the agent of %s does not answer", name), dr.KindUnavailable, "see that the Azure VM agent is installed")
		}
		return nil
	case dr.ProbeSerial:
		text, err := s.Console(ctx, name, 1<<20)
		if err == nil && !strings.Contains(string(text), p.Text) {
			err = dr.WithHint(fmt.Errorf("%q is not on the console of %s", p.Text, name), dr.KindUnavailable, "see the machine's serial console")
		}
		return err
	case dr.ProbeTCP, dr.ProbeHTTP:
		return s.reach(ctx, v, p)
	}
	return dr.WithHint(fmt.Errorf("probe %q is not known", p.Kind), dr.KindInvalid, "serial, tcp, http or agent")
}

// reach connects to a machine by its address.
func (s *Site) reach(ctx context.Context, v *vm, p dr.Probe) error {
	address, err := s.address(ctx, v)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	at := net.JoinHostPort(address, fmt.Sprint(p.Port))
	fail := func(err error) error {
		return dr.WithHint(fmt.Errorf("probe %s at %s: %w", v.Name, at, err), dr.KindUnavailable, "see that the controller's network reaches the machine's (site setting reach=private|public)")
	}
	if p.Kind == dr.ProbeTCP {
		c, err := new(net.Dialer).DialContext(ctx, "tcp", at)
		if err != nil {
			return fail(err)
		}
		return c.Close()
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+at+p.Path, nil)
	if err != nil {
		return fail(err)
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return fail(err)
	}
	_, _ = io.Copy(io.Discard, io.LimitReader(resp.Body, 1<<20)) // only the status counts
	if resp.StatusCode >= 400 {
		err = fail(fmt.Errorf("status %d", resp.StatusCode))
	}
	return errors.Join(err, resp.Body.Close())
}

// address is where a machine is reached.
func (s *Site) address(ctx context.Context, v *vm) (string, error) {
	for _, r := range v.Properties.NetworkProfile.NetworkInterfaces {
		var n nic
		if err := s.rest.get(ctx, r.ID, nil, &n); err != nil {
			return "", explain(err)
		}
		for _, c := range n.Properties.IPConfigurations {
			if s.cfg.Reach == "private" {
				return c.Properties.PrivateIPAddress, nil
			}
			var ip struct {
				Properties struct {
					IPAddress string `json:"ipAddress"`
				} `json:"properties"`
			}
			if c.Properties.PublicIPAddress.ID != "" && s.rest.get(ctx, c.Properties.PublicIPAddress.ID, nil, &ip) == nil && ip.Properties.IPAddress != "" {
				return ip.Properties.IPAddress, nil
			}
		}
	}
	return "", dr.WithHint(fmt.Errorf("machine %s has no %s address", v.Name, s.cfg.Reach), dr.KindInvalid, "use another kind of probe, such as agent or serial")
}
