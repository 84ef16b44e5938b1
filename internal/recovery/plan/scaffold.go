package plan

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strings"

	"understudy/internal/dr"
)

// Stages are the stages of a group without a plan: its machines by their order.
func Stages(machines []dr.MachinePolicy) []Stage {
	byOrder := map[int][]string{}
	for _, m := range machines {
		byOrder[m.Order] = append(byOrder[m.Order], m.Name)
	}
	var out []Stage
	for i, o := range slices.Sorted(maps.Keys(byOrder)) {
		slices.Sort(byOrder[o])
		out = append(out, Stage{Name: fmt.Sprintf("stage-%d", i+1), Machines: byOrder[o]})
	}
	return out
}

// Scaffold is the text of a plan to begin with: the group's machines in their order, and examples of actions as comments.
func Scaffold(g dr.Group, name string) string {
	var b strings.Builder
	name = cmp.Or(name, g.Name)
	fmt.Fprintf(&b, `# A recovery plan. Check it: understudy plan validate %[1]s.yaml; save it: understudy plan apply %[1]s.yaml
name: %[1]s
group: %[2]s
description: How %[2]s is brought up at its other site.

# ${var.NAME} in actions; scripts also find them as UNDERSTUDY_VAR_NAME.
variables:
  contact: operations
# ${secret.NAME} in env, headers, bodies and URLs. Values are read when they are used, and kept nowhere.
# secrets:
#   token: {env: DNS_TOKEN}    # of the controller's environment, or {file: PATH}

# Done before anything is changed.
# before:
#   - name: go ahead
#     approval: {message: "Fail ${run.group} over to ${run.target}?"}
#     timeout: 1h
#     when: {kinds: [planned, unplanned]}

# Machines of a stage start at the same time; the next stage waits until all are healthy.
stages:
`, name, g.Name)
	for i, s := range Stages(g.Machines) {
		fmt.Fprintf(&b, "  - name: %s\n    machines: [%s]\n", s.Name, strings.Join(s.Machines, ", "))
		if i == 0 {
			fmt.Fprintf(&b, `    # after:
    #   - name: check the data
    #     guest: {machine: %s, command: [/usr/bin/test, -e, /etc/hostname]}
    #     retries: 3
    #     onError: ask      # fail (by default), continue or ask
`, s.Machines[0])
		}
	}
	b.WriteString(`
# Done when all machines are healthy.
after:
  - name: tell the people
    script:
      text: echo "${run.group} runs at ${run.target}; tell ${var.contact}"
    onError: continue
#   - name: restore extensions
#     extensions: {}
#   - name: switch the name
#     http:
#       method: PUT
#       url: https://dns.example.com/records/${run.group}
#       headers: {Authorization: "Bearer ${secret.token}"}
#     retries: 3
#     repeatable: true      # done again when the controller died meanwhile
#     when: {kinds: [planned, unplanned]}
`)
	return b.String()
}
