package preflight

import (
	"cmp"
	"path"
	"regexp"
	"slices"
	"strings"
)

// maxText bounds configuration files, in bytes.
const maxText = 4 << 20

// linux is an installed Linux.
type linux struct {
	*examination
	root    volume
	all     []volume
	release release
	entry   entry
	version string // of the kernel
}

type release struct {
	name string
	like string // IDs of distributions
}

func (l *linux) osRelease() release {
	text, err := l.root.fs.ReadFile("etc/os-release", maxText)
	if err != nil {
		text, _ = l.root.fs.ReadFile("usr/lib/os-release", maxText) // one of them is there
	}
	r := release{name: "Linux"}
	for line := range strings.Lines(string(text)) {
		key, value, _ := strings.Cut(strings.TrimSpace(line), "=")
		switch value = strings.Trim(value, `"'`); key {
		case "PRETTY_NAME":
			r.name = value
		case "ID", "ID_LIKE":
			r.like += " " + value
		}
	}
	return r
}

func (l *linux) is(ids ...string) bool {
	return slices.ContainsFunc(strings.Fields(l.release.like), func(id string) bool { return slices.Contains(ids, id) })
}

func (l *linux) redHat() bool { return l.is("rhel", "fedora", "centos", "suse", "opensuse", "sles") }

func (l *linux) text(name string) string {
	data, err := l.root.fs.ReadFile(name, maxText)
	if err != nil {
		return ""
	}
	return string(data)
}

// files are those below a folder with one of some endings, sorted.
func (l *linux) files(dir string, endings ...string) (out []string) {
	list, err := l.root.fs.ReadDir(dir)
	if err != nil {
		return nil
	}
	for _, name := range list {
		if slices.ContainsFunc(endings, func(e string) bool { return strings.HasSuffix(name, e) }) {
			out = append(out, path.Join(dir, name))
		}
	}
	slices.Sort(out)
	return out
}

// look makes all checks of the installed system.
func (l *linux) look() {
	var found bool
	l.entry, found = l.bootEntry()
	l.version = l.kernelVersion()
	l.drivers()
	if !found {
		l.add(CheckRoot, Unknown, "look in the guest: /proc/cmdline names the root file system by UUID or LABEL", "no configuration of a boot loader could be read")
		l.add(CheckConsole, Unknown, "look in the guest: /proc/cmdline has console="+l.p.Console, "no configuration of a boot loader could be read")
	} else {
		l.rootArgument()
		l.console()
	}
	l.fstab()
	l.networks()
	l.agent()
}

var unstable = regexp.MustCompile(`^/dev/(sd|vd|hd|xvd|nvme|mmcblk)[a-z0-9]`)

func (l *linux) rootArgument() {
	root := l.entry.argument("root")
	switch {
	case unstable.MatchString(root):
		remedy := "in /etc/default/grub remove GRUB_DISABLE_LINUX_UUID; update-grub"
		if l.redHat() {
			remedy = "grubby --update-kernel=ALL --args=root=UUID=$(findmnt -no UUID /)"
		}
		l.add(CheckRoot, Failure, remedy, "the kernel is told root=%s, a name that disks have on some hardware only", root)
	case root == "":
		l.add(CheckRoot, Warning, "see that the initramfs finds the root file system by UUID or LABEL", "the kernel is not told where the root file system is")
	default:
		l.add(CheckRoot, OK, "", "found by %s", root)
	}
}

func (l *linux) console() {
	for _, arg := range l.entry.arguments() {
		value, ok := strings.CutPrefix(arg, "console=")
		if name, _, _ := strings.Cut(value, ","); ok && name == l.p.Console {
			l.add(CheckConsole, OK, "", "the kernel speaks on %s", l.p.Console)
			return
		}
	}
	arg := "console=tty0 console=" + l.p.Console
	remedy := `in /etc/default/grub: GRUB_CMDLINE_LINUX="` + arg + `"; update-grub`
	switch {
	case l.redHat():
		remedy = "grubby --update-kernel=ALL --args='" + arg + "'"
	case l.is("alpine"):
		remedy = `in /etc/update-extlinux.conf: add ` + arg + ` to default_kernel_opts; update-extlinux`
	}
	l.add(CheckConsole, Warning, remedy, "the kernel does not speak on %s: there is no console to look at, and serial probes fail", l.p.Console)
}

func (l *linux) fstab() {
	const remedy = "name them as blkid does, by UUID= or LABEL=, in /etc/fstab"
	var fatal, lame []string
	n := 0
	for line := range strings.Lines(l.text("etc/fstab")) {
		f := strings.Fields(line)
		if len(f) < 3 || strings.HasPrefix(f[0], "#") {
			continue
		}
		n++
		if !unstable.MatchString(f[0]) {
			continue
		}
		options := ""
		if len(f) > 3 {
			options = f[3]
		}
		list := strings.Split(options, ",")
		if f[2] == "swap" || slices.Contains(list, "nofail") || slices.Contains(list, "noauto") {
			lame = append(lame, f[0])
		} else {
			fatal = append(fatal, f[0]+" for "+f[1])
		}
	}
	switch {
	case len(fatal) > 0:
		l.add(CheckFstab, Failure, remedy, "names disks by what they are called on some hardware only: %s", strings.Join(append(fatal, lame...), ", "))
	case len(lame) > 0:
		l.add(CheckFstab, Warning, remedy, "will not be there: %s", strings.Join(lame, ", "))
	default:
		l.add(CheckFstab, OK, "", "%d file systems, none by a name that may change", n)
	}
}

// a setup is a configuration of network interfaces.
type setup struct {
	file   string
	dhcp   bool
	static bool
	names  []string // patterns of interfaces that it is for; none for all
	mac    bool     // is for one address
	driver string   // is for one driver
}

var (
	macRule   = regexp.MustCompile(`(?i)\b[0-9a-f]{2}(:[0-9a-f]{2}){5}\b`)
	planNames = regexp.MustCompile(`(?m)^ {4}["']?([a-z][\w.*?-]*)["']?:\s*$`)
	nameRule  = regexp.MustCompile(`(?m)^\s*(?:set-name|name):\s*["']?([\w.*?-]+)`)
	driverIn  = regexp.MustCompile(`(?m)^\s*(?:driver|Driver)\s*[:=]\s*["'\[]*([\w-]+)`)
)

// setups reads what sets up the network. Files that the system makes anew when it starts are among them.
func (l *linux) setups() (out []setup) {
	add := func(file string, read func(*setup, string)) {
		text := l.text(file)
		if text == "" {
			return
		}
		s := setup{file: "/" + file, mac: macRule.MatchString(text)}
		if m := driverIn.FindStringSubmatch(text); m != nil {
			s.driver = m[1]
		}
		if read(&s, text); s.dhcp || s.static {
			out = append(out, s)
		}
	}
	for _, f := range l.files("etc/netplan", ".yaml", ".yml") {
		add(f, func(s *setup, text string) {
			s.dhcp = regexp.MustCompile(`(?m)^\s*dhcp[46]:\s*["']?(true|yes|on)`).MatchString(text)
			s.static = regexp.MustCompile(`(?m)^\s*addresses:`).MatchString(text) && !s.dhcp
			for _, m := range planNames.FindAllStringSubmatch(text, -1) {
				s.names = append(s.names, m[1])
			}
			if m := nameRule.FindStringSubmatch(text); m != nil {
				s.names = []string{m[1]}
			} else if s.mac || s.driver != "" || strings.Contains(text, "match:") {
				s.names = nil // the key is a label then
			}
		})
	}
	interfaces := []string{"etc/network/interfaces"}
	for _, f := range append(interfaces, l.files("etc/network/interfaces.d", "")...) {
		add(f, func(s *setup, text string) {
			s.mac = false
			for line := range strings.Lines(text) {
				w := strings.Fields(line)
				if len(w) < 4 || w[0] != "iface" || w[1] == "lo" {
					continue
				}
				s.names = append(s.names, w[1])
				s.dhcp, s.static = s.dhcp || w[3] == "dhcp" || w[3] == "auto", s.static || w[3] == "static"
			}
		})
	}
	ini := func(key, dynamic, fixed string) func(*setup, string) {
		yes, no := regexp.MustCompile(`(?mi)^\s*`+dynamic), regexp.MustCompile(`(?mi)^\s*`+fixed)
		name := regexp.MustCompile(`(?m)^\s*` + key + `\s*=\s*["']?([^"'\n]+)`)
		return func(s *setup, text string) {
			s.dhcp = yes.MatchString(text)
			s.static = !s.dhcp && no.MatchString(text)
			if m := name.FindStringSubmatch(text); m != nil {
				s.names = strings.Fields(m[1])
			}
		}
	}
	for _, f := range l.files("etc/systemd/network", ".network") {
		add(f, ini("Name", `DHCP\s*=\s*(yes|true|ipv4|both)`, `Address\s*=`))
	}
	for _, f := range l.files("etc/NetworkManager/system-connections", ".nmconnection") {
		add(f, ini("interface-name", `method\s*=\s*auto`, `method\s*=\s*manual`))
	}
	for _, f := range l.files("etc/sysconfig/network-scripts", "") {
		if base := path.Base(f); strings.HasPrefix(base, "ifcfg-") && base != "ifcfg-lo" {
			add(f, ini("DEVICE", `BOOTPROTO\s*=\s*["']?dhcp`, `IPADDR\s*=`))
		}
	}
	return out
}

func (l *linux) networks() {
	const remedy = "set up DHCP for interfaces of any name: in systemd-networkd [Match] Name=e*, in netplan match: {name: \"e*\"}, in NetworkManager no interface-name"
	patterns := l.p.Interfaces
	if slices.Contains(l.entry.arguments(), "net.ifnames=0") {
		patterns = []string{"eth[0-9]"}
	}
	list := l.setups()
	var static, bound []string
	for _, s := range list {
		named := len(s.names) == 0 || slices.ContainsFunc(s.names, func(n string) bool { return fits(n, patterns) })
		switch {
		case s.mac && !l.p.KeepsMAC:
			bound = append(bound, s.file+" is for a hardware address that changes")
		case s.driver != "" && !slices.Contains(l.p.Network, s.driver) && !strings.HasPrefix(s.driver, "*"):
			bound = append(bound, s.file+" is for driver "+s.driver)
		case !named:
			bound = append(bound, s.file+" is for "+strings.Join(s.names, " ")+", not "+strings.Join(patterns, " "))
		case s.dhcp:
			l.add(CheckDHCP, OK, "", "%s asks for an address by DHCP", s.file)
			return
		case s.static:
			static = append(static, s.file)
		}
	}
	manager := l.text("etc/NetworkManager/NetworkManager.conf") != ""
	switch {
	case len(bound) > 0:
		l.add(CheckDHCP, Failure, remedy, "%s", strings.Join(bound, "; "))
	case len(static) > 0:
		l.add(CheckDHCP, Warning, "use DHCP, or give the machine the address where it goes", "%s sets a fixed address, which must be one of the network there", strings.Join(static, ", "))
	case manager:
		l.add(CheckDHCP, OK, "", "NetworkManager asks for an address by DHCP where nothing else is said")
	default:
		l.add(CheckDHCP, Unknown, "see in the guest that the network is set up by DHCP, for interfaces of any name", "no configuration that is known was found")
	}
}

// fits reports whether an interface of a configuration can be one of the platform: either may be a pattern.
func fits(name string, patterns []string) bool {
	return slices.ContainsFunc(patterns, func(p string) bool {
		there, err := path.Match(p, name)
		if err == nil && there {
			return true
		}
		if !strings.ContainsAny(name, "*?[") {
			return false
		}
		for _, usual := range []string{"eth0", "ens4", "enp0s4", "en0"} {
			a, _ := path.Match(p, usual)
			if b, err := path.Match(name, usual); a && b && err == nil {
				return true
			}
		}
		return false
	})
}

func (l *linux) agent() {
	if l.p.Agent == "" {
		return
	}
	for _, p := range l.p.AgentPaths {
		if l.root.fs.Exists(p) {
			l.add(CheckAgent, OK, "", "%s is installed", l.p.Agent)
			return
		}
	}
	l.add(CheckAgent, Warning, cmp.Or(l.p.AgentInstall, "install "+l.p.Agent), "%s is not installed: programs cannot be run in the machine, and agent probes fail", l.p.Agent)
}
