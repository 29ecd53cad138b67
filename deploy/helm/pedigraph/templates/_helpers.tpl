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
readinessProbe:
  httpGet:
    path: /readyz
    port: http
{{- end }}
