package demo

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"understudy/internal/api/client"
	"understudy/internal/api/wire"
	"understudy/internal/demo/guest"
	"understudy/internal/dr"
)

const (
	group  = "shop"
	dbName = "shop-db"
	web    = "shop-web"
)

// buildSites writes the definitions and disks of the two machines at east. West is empty.
func (d *demo) buildSites(ctx context.Context) error {
	d.act("Two machines at site east")
	machines := filepath.Join(d.dir, "east", "machines")
	for _, dir := range []string{machines, filepath.Join(d.dir, "east", "images"), filepath.Join(d.dir, "west")} {
		if err := os.MkdirAll(dir, 0o700); err != nil {
			return err
		}
	}
	files, err := filepath.Abs(d.Guest)
	if err != nil {
		return err
	}
	for name, cmdline := range map[string]string{
		dbName: "us.role=db us.ip=10.77.0.10/24",
		web:    "us.role=web us.ip=10.77.0.11/24 us.db=10.77.0.10:7000",
	} {
		disk := filepath.Join(d.dir, "east", "images", name+".qcow2")
		if err := guest.EmptyDisk(ctx, disk, "qcow2", 256<<20); err != nil {
			return err
		}
		// The files the machines boot from belong to the site, and die with it.
		for _, f := range []string{guest.Kernel, guest.Initrd} {
			if err := link(filepath.Join(files, f), filepath.Join(d.dir, "east", "images", f)); err != nil {
				return err
			}
		}
		port, mac := 7000, "52:54:00:77:00:10"
		if name == web {
			port, mac = 80, "52:54:00:77:00:11"
		}
		text := fmt.Sprintf(`name: %s
cpus: 1
memory: 192MiB
boot: {kernel: ../images/vmlinuz, initrd: ../images/initrd.gz, cmdline: "console=ttyS0 quiet %s"}
disks: [{name: data, path: ../images/%s.qcow2, format: qcow2}]
nics:
  - {network: lan, mac: "%s"}
  - {network: access, forwards: [{guestPort: %d}]}
agent: true
`, name, cmdline, name, mac, port)
		if err := os.WriteFile(filepath.Join(machines, name+".yaml"), []byte(text), 0o600); err != nil {
			return err
		}
	}
	return nil
}

// link makes a file available at another name, by a hard link where that is possible.
func link(from, to string) error {
	err := os.Link(from, to)
	if err == nil || errors.Is(err, fs.ErrExist) {
		return nil
	}
	data, err := os.ReadFile(from)
	if err != nil {
		return err
	}
	return os.WriteFile(to, data, 0o600)
}

// startController starts `understudy serve` and waits until it answers.
func (d *demo) startController(ctx context.Context) error {
	data := filepath.Join(d.dir, "controller")
	log, err := os.Create(filepath.Join(d.dir, "controller.log"))
	if err != nil {
		return err
	}
	defer log.Close()
	d.serve = exec.Command(d.Program, "serve", "--data", data, "--listen", "127.0.0.1:0")
	d.serve.Stdout, d.serve.Stderr = log, log
	d.serve.Env = append(os.Environ(), "XDG_CONFIG_HOME="+filepath.Join(d.dir, "config"))
	d.serve.Env = append(d.serve.Env, d.env...)
	d.serve.SysProcAttr = detached() // Ctrl-C reaches this program, which ends the controller in its own time
	if err := d.serve.Start(); err != nil {
		return fmt.Errorf("start the controller: %w", err)
	}
	d.served = make(chan error, 1)
	go func() { d.served <- d.serve.Wait() }()
	ctx, cancel := context.WithTimeout(ctx, 30*time.Second)
	defer cancel()
	for {
		url, uerr := os.ReadFile(filepath.Join(data, "api.url"))
		token, terr := os.ReadFile(filepath.Join(data, "token"))
		if uerr == nil && terr == nil {
			d.client = client.New(strings.TrimSpace(string(url)), strings.TrimSpace(string(token)))
			if _, err := d.client.Version(ctx); err == nil {
				return nil
			}
		}
		select {
		case err := <-d.served:
			d.served <- err
			text, _ := os.ReadFile(log.Name())
			return fmt.Errorf("the controller did not start: %w\n%s", err, text)
		case <-ctx.Done():
			return fmt.Errorf("the controller does not answer: %w", ctx.Err())
		case <-time.After(20 * time.Millisecond):
		}
	}
}

// configure tells the controller of the sites, the vault and the policy.
func (d *demo) configure(ctx context.Context) error {
	for _, name := range []string{"east", "west"} {
		s := wire.Site{Name: name, Provider: "qemu", Config: map[string]string{"dir": filepath.Join(d.dir, name)}}
		agents, err := d.collectorSettings(name)
		if err != nil {
			return err
		}
		maps.Copy(s.Config, agents)
		if _, err := d.client.AddSite(ctx, s); err != nil {
			return err
		}
	}
	if _, err := d.client.AddVault(ctx, wire.Vault{Name: "main", URL: "file://" + filepath.Join(d.dir, "vault")}); err != nil {
		return err
	}
	_, err := d.client.PutPolicy(ctx, wire.Policy{Name: "fast", RPO: wire.Duration(RPO), Keep: "all for 1h"})
	return err
}

// hostPort returns the loopback address at which a guest's port of a machine is reachable.
func (d *demo) hostPort(ctx context.Context, site, machine string, guestPort int) (string, error) {
	machines, err := d.client.ListMachines(ctx, site)
	if err != nil {
		return "", err
	}
	for _, m := range machines {
		if m.Name != machine {
			continue
		}
		for _, nic := range m.NICs {
			for _, f := range nic.Forwards {
				if f.GuestPort == guestPort && f.HostPort != 0 {
					return net.JoinHostPort("127.0.0.1", strconv.Itoa(f.HostPort)), nil
				}
			}
		}
	}
	return "", dr.WithHint(fmt.Errorf("%s at %s: port %d is not forwarded", machine, site, guestPort), dr.KindNotFound, "understudy machine list --site "+site)
}

// pids finds the processes of a site that was not stopped in an orderly way: QEMU and the network switches.
func (d *demo) pids(site string) ([]int, error) {
	return processesUnder(filepath.Join(d.dir, site))
}

// strike takes everything down: the controller, then what the sites run, then the folder.
func (d *demo) strike() error {
	var errs []error
	if d.serve != nil {
		if err := d.serve.Process.Signal(syscall.SIGTERM); err == nil {
			select {
			case <-d.served:
			case <-time.After(20 * time.Second):
				errs = append(errs, errors.New("the controller did not end by itself"), d.serve.Process.Kill())
				<-d.served
			}
		}
	}
	return errors.Join(append(errs, End(d.dir))...)
}

// End takes down what a demonstration in dir left running, and removes the folder. It refuses other folders.
func End(dir string) error {
	if !strings.HasPrefix(filepath.Base(dir), "understudy-demo-") {
		return dr.WithHint(fmt.Errorf("%s is not the folder of a demonstration", dir), dr.KindInvalid, "give the folder that `understudy demo --keep` printed")
	}
	pids, err := processesUnder(dir)
	for _, pid := range pids {
		if kerr := kill(pid); kerr != nil {
			err = errors.Join(err, fmt.Errorf("end process %d: %w", pid, kerr))
		}
	}
	return errors.Join(err, os.RemoveAll(dir))
}
