{{- /* What the schema cannot say: values that contradict each other. Each message says what to set. */ -}}
{{- define "moderation-worker.check" -}}
{{- $v := .Values -}}
{{- if not $v.kafka.bootstrapServers }}{{ fail "kafka.bootstrapServers is empty: set it to host:port of your Kafka" }}{{ end -}}
{{- include "moderation-worker.checkKafka" . -}}
{{- if not $v.standIn }}{{ include "moderation-worker.checkModels" . }}{{ end -}}
{{- if $v.checkSecrets }}{{ include "moderation-worker.checkSecrets" . }}{{ end -}}
{{- if and $v.policies $v.policiesConfigMap }}{{ fail "policies and policiesConfigMap exclude each other: set one" }}{{ end -}}
{{- if gt (int $v.replicaCount) (int $v.topics.partitions) -}}
{{- fail (printf "replicaCount (%d) is above topics.partitions (%d): the workers above it would have nothing to read" (int $v.replicaCount) (int $v.topics.partitions)) -}}
{{- end -}}
{{- if ne $v.autoscaling.type "none" }}{{ include "moderation-worker.checkScaling" . }}{{ end -}}
{{- $monitoring := or $v.monitoring.serviceMonitor.enabled $v.monitoring.prometheusRule.enabled -}}
{{- if and $monitoring (not (.Capabilities.APIVersions.Has "monitoring.coreos.com/v1")) -}}
{{- fail "monitoring.serviceMonitor and .prometheusRule need the Prometheus operator, and this cluster has no monitoring.coreos.com/v1: install it, or switch them off" -}}
{{- end -}}
{{- end }}

{{- define "moderation-worker.checkKafka" -}}
{{- $kafka := .Values.kafka -}}
{{- if and (or $kafka.tls.caSecret $kafka.tls.clientSecret) (not (include "moderation-worker.hasTls" .)) -}}
{{- fail (printf "kafka.tls is set, and kafka.securityProtocol is %s, which has no TLS: set SSL or SASL_SSL" $kafka.securityProtocol) -}}
{{- end -}}
{{- if include "moderation-worker.hasSasl" . -}}
{{- if not (or $kafka.sasl.existingSecret $kafka.sasl.password) -}}
{{- fail (printf "kafka.securityProtocol %s needs a password: set kafka.sasl.existingSecret to a Secret with the key %s" $kafka.securityProtocol $kafka.sasl.passwordKey) -}}
{{- end -}}
{{- if eq $kafka.sasl.mechanism "OAUTHBEARER" -}}
{{- if not (and $kafka.sasl.oauth.tokenUrl $kafka.sasl.oauth.clientId) }}{{ fail "kafka.sasl.mechanism OAUTHBEARER needs kafka.sasl.oauth.tokenUrl and .clientId" }}{{ end -}}
{{- else if not $kafka.sasl.username -}}
{{- fail (printf "kafka.sasl.mechanism %s needs kafka.sasl.username" $kafka.sasl.mechanism) -}}
{{- end -}}
{{- else if or $kafka.sasl.existingSecret $kafka.sasl.password $kafka.sasl.username -}}
{{- fail (printf "kafka.sasl is set, and kafka.securityProtocol is %s, which has no login: set SASL_SSL" $kafka.securityProtocol) -}}
{{- end -}}
{{- end }}

{{- define "moderation-worker.checkModels" -}}
{{- $v := .Values -}}
{{- range $name, $model := $v.models -}}
{{- if and (contains "/" $model.model) (not (hasPrefix "/" $model.model)) (not $model.revision) -}}
{{- fail (printf "models.%s.revision is empty: pin %s to a commit (`moderation-worker models fetch` prints it), or set standIn" $name $model.model) -}}
{{- end -}}
{{- end -}}
{{- if not (or $v.gpu.enabled $v.cpuIsFine) -}}
{{- fail "gpu.enabled is false, and the models are the real ones: set standIn, or cpuIsFine if that is meant" -}}
{{- end -}}
{{- if and (ne $v.modelCache.fetch "init") (not $v.modelCache.existingClaim) -}}
{{- fail (printf "modelCache.fetch %s needs modelCache.existingClaim: a claim that is there before the release" $v.modelCache.fetch) -}}
{{- end -}}
{{- if and (ne $v.modelCache.fetch "none") (not (include "moderation-worker.hubSecret" .)) -}}
{{- fail "the models are gated: set hub.existingSecret to a Secret with the hub's token, or modelCache.fetch to none" -}}
{{- end -}}
{{- $many := or (gt (int $v.replicaCount) 1) (and (ne $v.autoscaling.type "none") (gt (int $v.autoscaling.maxReplicas) 1)) -}}
{{- if and $many (not $v.modelCache.existingClaim) (not (has "ReadWriteMany" $v.modelCache.accessModes)) -}}
{{- fail "several workers share the model cache: modelCache.accessModes needs ReadWriteMany" -}}
{{- end -}}
{{- end }}

{{- define "moderation-worker.checkScaling" -}}
{{- $v := .Values -}}
{{- $scaling := $v.autoscaling -}}
{{- if gt (int $scaling.maxReplicas) (int $v.topics.partitions) -}}
{{- fail (printf "autoscaling.maxReplicas (%d) is above topics.partitions (%d): the workers above it would have nothing to read" (int $scaling.maxReplicas) (int $v.topics.partitions)) -}}
{{- end -}}
{{- if gt (int $scaling.minReplicas) (int $scaling.maxReplicas) }}{{ fail "autoscaling.minReplicas is above autoscaling.maxReplicas" }}{{ end -}}
{{- if eq $scaling.type "hpa" -}}
{{- if lt (int $scaling.minReplicas) 1 }}{{ fail "autoscaling.minReplicas 0 is for keda: an HPA never scales from 0" }}{{ end -}}
{{- else -}}
{{- if not (.Capabilities.APIVersions.Has "keda.sh/v1alpha1") -}}
{{- fail "autoscaling.type keda needs KEDA, and this cluster has no keda.sh/v1alpha1: install KEDA, or set hpa or none" -}}
{{- end -}}
{{- if and (include "moderation-worker.hasSasl" .) (eq $v.kafka.sasl.mechanism "OAUTHBEARER") (not $scaling.authenticationRef) -}}
{{- fail "KEDA takes OAUTHBEARER from a TriggerAuthentication of yours: name it in autoscaling.authenticationRef" -}}
{{- end -}}
{{- end -}}
{{- end }}

{{- /* Without them the jobs before the installation would wait for minutes and say nothing. `helm template` and what is
built on it ask no cluster: then there is no list. */ -}}
{{- define "moderation-worker.checkSecrets" -}}
{{- $v := .Values -}}
{{- $wanted := list $v.kafka.tls.caSecret $v.kafka.tls.clientSecret -}}
{{- if include "moderation-worker.hasSasl" . }}{{ $wanted = append $wanted $v.kafka.sasl.existingSecret }}{{ end -}}
{{- if and (not $v.standIn) (ne $v.modelCache.fetch "none") }}{{ $wanted = append $wanted $v.hub.existingSecret }}{{ end -}}
{{- $found := dict -}}
{{- if compact $wanted }}{{ $found = lookup "v1" "Secret" .Release.Namespace "" }}{{ end -}}
{{- if hasKey $found "items" -}}
{{- $names := list -}}
{{- range $found.items }}{{ $names = append $names .metadata.name }}{{ end -}}
{{- range compact $wanted -}}
{{- if not (has . $names) -}}
{{- fail (printf "the values name the Secret %s, and the namespace %s has none: create it first (docs/operations.md#install), or set checkSecrets to false if it comes by itself" . $.Release.Namespace) -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- end }}
