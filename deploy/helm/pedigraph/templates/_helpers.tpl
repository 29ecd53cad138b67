{{- define "pedigraph.labels" -}}
app.kubernetes.io/name: pedigraph
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end }}

{{- define "pedigraph.probes" -}}
ports:
  - name: http
    containerPort: {{ . }}
startupProbe:
  httpGet:
    path: /livez
    port: http
  periodSeconds: 2
  failureThreshold: 150
livenessProbe:
  httpGet:
    path: /livez
    port: http
# Views that are folded anew or fail keep nobody from sending, and there is no other replica to ask: answers say themselves
# how old they are.
readinessProbe:
  httpGet:
    path: /readyz?for=intake
    port: http
{{- end }}
