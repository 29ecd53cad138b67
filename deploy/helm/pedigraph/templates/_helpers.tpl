{{- define "pedigraph.labels" -}}
app.kubernetes.io/name: pedigraph
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end }}
