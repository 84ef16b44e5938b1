package suites

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"maps"
	"net"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"understudy/test/azsim/sim"
)

const sdk = "github.com/Azure/azure-sdk-for-go/sdk/"

// A suite is a package of the SDK whose tests run against Azure itself.
type suite struct {
	module, version string
	run             string // which of its tests
	// The tests that pass. The list only grows: a test that passes and is not in it fails this one too.
	passes []string
}

var suites = []suite{
	{"resourcemanager/compute/armcompute/v8", "v8.3.0", "^Test(Disk|Snapshot|AvailabilitySet|ProximityPlacementGroup|SshPublicKey|Skus|ComputeRpCommon)TestSuite$", []string{
		"TestAvailabilitySetTestSuite/TestAvailabilitySets",
		"TestComputeRpCommonTestSuite/TestUsage",
		"TestComputeRpCommonTestSuite/TestVirtualMachineSizes",
		"TestDiskTestSuite/TestDisks",
		"TestProximityPlacementGroupTestSuite/TestProximityPlacementGroups",
		"TestSkusTestSuite/TestResourceSkus",
		"TestSnapshotTestSuite/TestSnapshots",
	}},
	{"resourcemanager/network/armnetwork/v9", "v9.0.0", "^Test(NetworkInterface|PublicIpAddress|VirtualNetwork|RouteTable|ApplicationSecurityGroup)TestSuite$", []string{
		"TestApplicationSecurityGroupTestSuite/TestApplicationSecurityGroups",
		"TestNetworkInterfaceTestSuite/TestNetworkInterfaces",
		"TestPublicIpAddressTestSuite/TestPublicIpAddresses",
		"TestRouteTableTestSuite/TestRoutes",
		"TestRouteTableTestSuite/TestRouteTables",
		"TestVirtualNetworkTestSuite/TestSubnets",
		"TestVirtualNetworkTestSuite/TestVirtualNetworkPeerings",
	}},
	{"resourcemanager/monitor/armmonitor", "v0.13.0", "^TestDatacollectionendpointsTestSuite$", []string{
		"TestDatacollectionendpointsTestSuite/TestDatacollectionendpoint",
	}},
}

// TestSuites builds the suites from the module cache and runs them against a simulator of their own.
func TestSuites(t *testing.T) {
	if os.Getenv("UNDERSTUDY_TEST_ALL") != "1" {
		t.Skip("compiles large modules: run `make test`, or set UNDERSTUDY_TEST_ALL=1")
	}
	for _, s := range suites {
		t.Run(s.module, func(t *testing.T) { s.judge(t) })
	}
}

func (s suite) judge(t *testing.T) {
	binary := s.build(t)
	azure, err := sim.New(sim.Options{Dir: t.TempDir(), Regions: []string{"westeurope", "eastus"}, CopyTime: 10 * time.Millisecond, Polls: 1, RetryAfter: time.Millisecond})
	if err != nil {
		t.Fatal(err)
	}
	defer azure.Close()
	cmd := exec.CommandContext(t.Context(), binary, "-test.v", "-test.run", s.run, "-test.timeout", "2m")
	// The suites look for the folder that they live in.
	cmd.Dir = filepath.Join(t.TempDir(), "sdk", s.module)
	if err := os.MkdirAll(cmd.Dir, 0o700); err != nil {
		t.Fatal(err)
	}
	cmd.Env = append(os.Environ(), "AZURE_RECORD_MODE=live", "LOCATION=westeurope", "SSL_CERT_FILE="+azure.CA(), "HTTPS_PROXY="+proxy(t, azure.URL()), "HTTP_PROXY=", "NO_PROXY=")
	for k, v := range azure.Env() {
		cmd.Env = append(cmd.Env, k+"="+v)
	}
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	runErr := cmd.Run()
	results := map[string]string{}
	for _, m := range regexp.MustCompile(`(?m)^\s*--- (PASS|FAIL|SKIP): (\S+/\S+) `).FindAllStringSubmatch(out.String(), -1) {
		results[m[2]] = m[1]
	}
	if len(results) == 0 {
		t.Fatalf("no test ran: %v\n%s", runErr, out.String())
	}
	passed := 0
	for _, name := range slices.Sorted(maps.Keys(results)) {
		known := slices.Contains(s.passes, name)
		switch ok := results[name] == "PASS"; {
		case ok && !known:
			t.Errorf("%s passes now: add it to the list", name)
		case !ok && known:
			t.Errorf("%s does not pass any more", name)
		case ok:
			passed++
		}
	}
	t.Logf("%d of %d tests of %s pass", passed, len(results), s.module)
	if t.Failed() {
		t.Log(out.String())
	}
}

// build compiles the tests of a module of the SDK.
func (s suite) build(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	mod := fmt.Sprintf("module suites\n\ngo 1.26\n\nrequire %s %s\n", sdk+s.module, s.version)
	importing := fmt.Sprintf("package suites\n\nimport _ %q\n", sdk+s.module)
	for name, text := range map[string]string{"go.mod": mod, "suites.go": importing} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	binary := filepath.Join(dir, "suite.test")
	for _, args := range [][]string{{"mod", "tidy"}, {"test", "-c", "-vet=off", "-o", binary, sdk + s.module}} {
		cmd := exec.CommandContext(t.Context(), "go", args...)
		cmd.Dir, cmd.Env = dir, append(os.Environ(), "CGO_ENABLED=0")
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("go %s: %v\n%s", strings.Join(args, " "), err, out)
		}
	}
	return binary
}

// proxy leads whatever host the suites ask for to the simulator.
func proxy(t *testing.T, to string) string {
	t.Helper()
	target, err := url.Parse(to)
	if err != nil {
		t.Fatal(err)
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go tunnel(c, target.Host)
		}
	}()
	return "http://" + l.Addr().String()
}

func tunnel(c net.Conn, to string) {
	defer c.Close()
	in := bufio.NewReader(c)
	if r, err := http.ReadRequest(in); err != nil || r.Method != http.MethodConnect {
		return
	}
	d, err := net.Dial("tcp", to)
	if err != nil {
		return
	}
	defer d.Close()
	fmt.Fprint(c, "HTTP/1.1 200 OK\r\n\r\n")
	go func() { _, _ = io.Copy(d, in); d.Close() }()
	_, _ = io.Copy(c, d)
}
